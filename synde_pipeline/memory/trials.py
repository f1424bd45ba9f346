"""Which trials of a task a language model contrasts, and its lessons as rows of the ledger. Pure; nobody is asked here.

The fold looks answers up by the set of trials that a view shows, so they follow from rows and answers alone: a later
day, a task that is left out or a source that is shut out shows another set. Asking is in `trial_contrasts`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from synde_pipeline.memory.rows import Domain, Row, Unit, unit_of
from synde_pipeline.memory.sources import WhyNot
from synde_pipeline.records import Delta, Lesson, content_hash

_ENDS = ("success", "failure")


@dataclass(frozen=True)
class Advice:
    """What a language model said of sets of trials."""

    most: int = 0
    """Trials of one set."""
    lessons: Mapping[str, tuple[Lesson, ...]] = field(default_factory=dict)
    """Key of a set -> its lessons; sets that nobody was asked about are not there."""
    content_hash: str = ""


NOBODY_ASKED = Advice()


def key_of(trials: Iterable[Row]) -> str:
    """Name of a set of trials: equal rows in any order have equal names."""
    return content_hash(sorted(row.delta_id for row in trials))


def chosen(trials: Sequence[Row], most: int) -> list[Row]:
    """The first trials of each end, half of either where there are enough; none unless there are both.

    Args:
        trials: of one task, in canonical order, so that later ones change no full set.
        most: how many.
    """
    wins, losses = ([row for row in trials if row.delta.outcome == end] for end in _ENDS)
    if most < len(_ENDS) or not wins or not losses:
        return []
    n_wins = min(len(wins), max(most // 2, most - len(losses)))
    return sorted([*wins[:n_wins], *losses[: most - n_wins]])


def sets_of(
    domain: Domain, most: int, edit_days: Sequence[date], listening_on: Callable[[date], WhyNot]
) -> dict[str, list[Row]]:
    """Every set of trials that the fold may look up, whatever day it is asked about, by key.

    Args:
        domain: whose tasks they are of.
        most: trials of one set.
        edit_days: days from which on another source may be listened to.
        listening_on: the judge of rows as of a day.
    """
    found: dict[str, list[Row]] = {}
    for trials in _by_task(domain.rows).values():
        for day in sorted({*edit_days, *(row.effective_day for row in trials)}):
            why_not = listening_on(day)
            heard = [row for row in trials if row.effective_day <= day and not why_not(row.delta)]
            if some := chosen(heard, most):
                found[key_of(some)] = some
    return found


def with_advice(known: Mapping[Unit, Sequence[Row]], advice: Advice, why_not: WhyNot) -> dict[Unit, Sequence[Row]]:
    """The rows that a view shows, and the lessons of the trials among them: an ADD for each lesson and trial."""
    units: dict[Unit, list[Row]] = {unit: list(rows) for unit, rows in known.items()}
    rows = (row for seen in known.values() for row in seen)
    for trials in _by_task(row for row in rows if not why_not(row.delta)).values():
        some = chosen(trials, advice.most)
        for lesson in advice.lessons.get(key_of(some), ()) if some else ():
            for row in _rows(some, lesson):
                units.setdefault(row.unit, []).append(row)
    return {unit: sorted(units[unit], key=_canonical) for unit in sorted(units)}


def _by_task(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The runs of each task, in canonical order."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted((row for row in rows if row.delta.op == "EVIDENCE"), key=_canonical):
        found[row.delta.task_id].append(row)
    return found


def _canonical(row: Row) -> tuple[date, str]:
    return row.effective_day, row.delta_id


def _rows(trials: Sequence[Row], lesson: Lesson) -> Iterable[Row]:
    """A lesson as every trial of its set says it: known when the last one is, and gone when one of them is."""
    known = max(row.effective_day for row in trials)
    for trial in trials:
        like = {name: getattr(trial.delta, name) for name in ("day", "domain", "task_id", "trace_uid", "outcome")}
        delta = Delta(op="ADD", effective_day=known, source="llm", **like, **lesson.model_dump())
        yield Row(known, delta.delta_id, unit_of(delta), delta)

"""Labels and runs that come in different imports: kept privately in `landing/said.jsonl`, joined when both are there.

A label of a landed run becomes a `LabelRow`; one of no landed run waits. Which of several counts is in `said`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from pathlib import Path

from synde_pipeline.lease import lease
from synde_pipeline.logs.choices import AS_LOGGED, Choices
from synde_pipeline.logs.importers.base import Label
from synde_pipeline.logs.labels import LabelRow, file_labels, labels_in
from synde_pipeline.logs.landing import ARTEFACT, make_private, uid_hash
from synde_pipeline.logs.redact import safe_id
from synde_pipeline.logs.run_keys import RunKey, key_hash, place_of, purge_keys, run_keys
from synde_pipeline.logs.runs import FileImport
from synde_pipeline.logs.said import TRUST, Heard, decided
from synde_pipeline.logs.tombstones import refuse_while_removing, tombstones
from synde_pipeline.records import LabelSource, Outcome
from synde_pipeline.records.base import Record, UtcTime
from synde_pipeline.storage import Warehouse, write_atomically

_TICK = timedelta(microseconds=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Said(Record):
    """A label as a native file said it."""

    path: str
    """The file, absolute."""
    key: str
    """Hash of what the file calls the run."""
    outcome: Outcome
    reward: float | None
    label_source: LabelSource
    score: str
    below: bool
    is_ruled: bool
    given_at: UtcTime | None
    """When it was given, where the file says so."""
    at: UtcTime
    """When it counts from: as given, else the day of the import that met it first; right after what it replaced."""

    @property
    def address(self) -> str:
        """Where it is sent to: runs by their key, or those of its own folder."""
        return f"{self.key} {Path(self.path).parent}" if self.below else self.key

    @property
    def slot(self) -> tuple[str, str, str]:
        """What a file that is imported again replaces."""
        return self.path, self.key, self.score

    @property
    def native(self) -> tuple[object, ...]:
        """What the file itself says."""
        return self.slot, self.reward, self.label_source, self.below, self.given_at

    @property
    def heard(self) -> Heard:
        """For the choice between several."""
        label = Label(
            self.key, self.outcome, self.label_source, self.reward, self.score, self.below, self.at, self.is_ruled
        )
        return Path(self.path), label


@dataclass
class Joined:
    """What became of the labels of an import."""

    n_labels: int = 0
    """Runs that got a label after they were landed."""
    n_waiting: int = 0
    """Labels in the warehouse of runs that landing does not hold."""
    days: set[date] = field(default_factory=set)
    """Whose raw logs change."""


def heard_of(warehouse: Warehouse, found: FileImport) -> FileImport:
    """What joining labels needs of a file: no runs, and names of runs only where something was said of any before."""
    return FileImport(found.path, labels=found.labels, keys=found.keys if _path(warehouse).exists() else {})


def join_labels(warehouse: Warehouse, found: Sequence[FileImport], choices: Choices, today: date) -> Joined:
    """Keep what an import's files say of runs, and label the landed runs that they, or earlier files, speak of.

    A run keeps what its own row or an earlier label says, unless a giver who is trusted at least as much says another
    outcome. That label counts from its own time on, else from the day of the import that met it first; where it must
    outrank a later label of somebody less trusted, from right after that one. The same import again changes nothing.

    Raises:
        RemovalError: a removal is under way.
    """
    if not any(file.labels or (file.keys and _path(warehouse).exists()) for file in found):
        return Joined(n_waiting=waiting(warehouse))
    with lease(warehouse.root, "labels"):
        refuse_while_removing(warehouse)
        kept = _kept(warehouse)
        mine = {row.key for file in found for row in file.keys.values()}
        ruled = [_ruled(one, choices) if one.key in mine else one for one in kept]
        said = _together(ruled, [one for file in found for one in _said_by(warehouse, file, choices, today)])
        if said != kept:
            _write(warehouse, said)
        runs = run_keys(warehouse.root / ARTEFACT)
        rows = _rows(warehouse, said, runs)
        file_labels(warehouse, [row for _, row in rows])
    days = {day for run, row in rows for day in (run.day, max(run.day, row.day))}
    return Joined(len(rows), len(_waiting(said, runs)), days)


def waiting(warehouse: Warehouse) -> int:
    """How many labels of imports wait for their runs."""
    return len(_waiting(said, run_keys(warehouse.root / ARTEFACT))) if (said := _kept(warehouse)) else 0


def purge_joins(warehouse: Warehouse, uids: Iterable[str], day: date | None) -> int:
    """Forget what was said of runs that go and of no other, and what was said on a day; returns how much.

    Doing it again changes nothing: the runs' keys, which tell what was said of them, go last.
    """
    uids, landing = set(uids), warehouse.root / ARTEFACT
    with lease(warehouse.root, "labels"):
        said, reached = _kept(warehouse), defaultdict[str, set[str]](set)
        for run in run_keys(landing):
            for address in _addresses(run):
                reached[address].add(run.trace_uid)

        def goes(one: Said) -> bool:
            runs = reached.get(one.address)
            return one.at.date() == day or (runs is not None and runs <= uids)

        kept = [one for one in said if not goes(one)]
        if len(kept) < len(said):
            _write(warehouse, kept)
        purge_keys(landing, uids)
    return len(said) - len(kept)


# -- what was said --------------------------------------------------------------------------------------------------


def _said_by(warehouse: Warehouse, file: FileImport, choices: Choices, today: date) -> Iterable[Said]:
    stones, tomorrow = tombstones(warehouse), _midnight(today + timedelta(days=1))
    for native in file.labels:
        label = choices.ruled(native) or native
        if stones.holds(safe_id(label.key, 1)):  # of most sources the key is the uid
            continue
        at = label.at if label.at and label.at < tomorrow else None  # a label of the future has a wrong clock
        yield Said(
            path=place_of(file.path),
            key=key_hash(label.key),
            outcome=label.outcome,
            reward=label.reward,
            label_source=label.label_source,
            score=label.score,
            below=label.below,
            is_ruled=label.is_ruled,
            given_at=at,
            at=at or _midnight(today),
        )


def _ruled(one: Said, choices: Choices) -> Said:
    label = choices.ruled(one.heard[1])
    return _ruled_again(one, label.outcome) if label else one


def _ruled_again(one: Said, outcome: Outcome) -> Said:
    """With the outcome of a rule; where another rule had said otherwise, from right after that on."""
    is_changed = one.is_ruled and one.outcome != outcome
    return one.model_copy(update={"outcome": outcome, "is_ruled": True, "at": one.at + _TICK * is_changed})


def _together(kept: list[Said], new: list[Said]) -> list[Said]:
    """What was said so far and now: of a file that changed what it says now, of one that did not what was known."""
    before: dict[tuple[str, str, str], list[Said]] = defaultdict(list)
    for one in kept:
        before[one.slot].append(one)
    coming: dict[tuple[str, str, str], list[Said]] = defaultdict(list)
    for one in new:
        coming[one.slot].append(_as_known(one, before[one.slot]))
    stays = [one for one in kept if one.slot not in coming]
    lines = {one.model_dump_json(): one for one in [*stays, *chain.from_iterable(coming.values())]}
    return [lines[line] for line in sorted(lines)]


def _as_known(one: Said, before: list[Said]) -> Said:
    same = next((old for old in before if old.native == one.native), None)
    if same is not None:
        return _ruled_again(same, one.outcome) if one.is_ruled else same
    if one.given_at or not before:
        return one
    return one.model_copy(update={"at": max(one.at, max(old.at for old in before) + _TICK)})


def _kept(warehouse: Warehouse) -> list[Said]:
    path = _path(warehouse)
    return [Said.model_validate_json(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def _write(warehouse: Warehouse, said: Iterable[Said]) -> None:
    make_private(warehouse.root / ARTEFACT)
    text = "".join(one.model_dump_json() + "\n" for one in said)
    if text:
        write_atomically(_path(warehouse), text)
    else:
        _path(warehouse).unlink(missing_ok=True)


def _path(warehouse: Warehouse) -> Path:
    return warehouse.root / ARTEFACT / "said.jsonl"


# -- runs and labels together ---------------------------------------------------------------------------------------


def _addresses(run: RunKey) -> Iterator[str]:
    yield run.key
    yield from (f"{run.key} {folder}" for folder in Path(run.path).parents)


def _waiting(said: Iterable[Said], runs: Iterable[RunKey]) -> list[Said]:
    reached = {address for run in runs for address in _addresses(run)}
    return [one for one in said if one.outcome != "unknown" and one.address not in reached]


def _rows(warehouse: Warehouse, said: Iterable[Said], runs: Iterable[RunKey]) -> list[tuple[RunKey, LabelRow]]:
    """The labels that are news for their runs."""
    sent: dict[str, list[Heard]] = defaultdict(list)
    for one in said:
        sent[one.address].append(one.heard)
    labels, found = labels_in(warehouse), []
    # Of a run that was landed twice the later row speaks.
    for run in {run.trace_uid: run for run in sorted(runs, key=lambda run: run.at or _LONG_AGO)}.values():
        heard = [pair for address in _addresses(run) for pair in sent.get(address, ())]
        given = decided(heard, Path(run.path), AS_LOGGED)
        row = _news(run, given[1], labels.all.get(uid_hash(run.trace_uid), ())) if given else None
        if row:
            found.append((run, row))
    return found


def _news(run: RunKey, label: Label, earlier: Sequence[LabelRow]) -> LabelRow | None:
    """A label as a row, unless it was said of the run before, or what the run carries stands."""
    assert label.at is not None  # noqa: S101 - what is kept has a time
    told = (label.outcome, label.reward, label.label_source)
    for one in (run, *earlier):
        if (one.outcome, one.reward, one.label_source) == told and one.at is not None and one.at >= label.at:
            return None
    carried = earlier[-1] if earlier else run
    over = TRUST.index(label.label_source) - TRUST.index(carried.label_source)
    if label.outcome == carried.outcome or over < 0:
        return None
    at = max(label.at, _midnight(run.day))  # before its day nobody knows the run
    if earlier and earlier[-1].at >= at:
        if over == 0 and at == label.at:
            return None
        at = earlier[-1].at + _TICK
    outcome, reward, source = told
    return LabelRow.model_validate(
        {"trace_uid": run.trace_uid, "outcome": outcome, "reward": reward, "label_source": source, "at": at}
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)

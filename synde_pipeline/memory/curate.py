"""The fold: a set of deltas -> the bank. Pure, and the same for every order in which the deltas arrived (laws 1, 2).

Everything that needs more than one trajectory is decided by the fold: what single runs say in `lessons`, how successful
runs differ from failed ones in `contrast`, which order of tools reaches a goal in `workflows`, what holds at one place
in `places`. Which rows are seen is in `ledger`; storing deltas is in `store`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from synde_pipeline.memory.contrast import contrasts
from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.memory.ledger import Key, sections_of
from synde_pipeline.memory.lessons import lessons
from synde_pipeline.memory.places import fold_place
from synde_pipeline.memory.preconditions import preconditions
from synde_pipeline.memory.workflows import workflows
from synde_pipeline.records import Delta, MemoryItem, content_hash
from synde_pipeline.settings import MemoryConfig


@dataclass(frozen=True)
class Bank:
    """The memory as of a day."""

    as_of: date
    items: tuple[MemoryItem, ...]
    n_deltas: int

    @cached_property
    def bank_hash(self) -> str:
        """Content hash: equal items in canonical order."""
        return content_hash([item.model_dump(mode="json") for item in self.items])


def fold(
    deltas: Iterable[Delta], as_of: date, config: MemoryConfig, embed: EmbedKeys, *, without_task: str | None = None
) -> Bank:
    """Fold all deltas known as of a day into the bank.

    Leaving a task out is exact: its deltas are not there at all, so no text or count can stem from them (law 2).

    Args:
        deltas: any order, repeats allowed.
        as_of: deltas with a later effective day are not seen.
        config: support threshold and limits.
        embed: embeds tasks, to find similar ones.
        without_task: task that the memory must know nothing of.
    """
    items: list[MemoryItem] = []
    n_deltas = 0
    for key, section in sections_of(deltas).items():
        rows = section.seen(section.cut(as_of, without_task))
        items += fold_section(key, rows, config, embed)
        n_deltas += len(rows)
    return bank_of(as_of, items, n_deltas)


def bank_of(as_of: date, items: Iterable[MemoryItem], n_deltas: int) -> Bank:
    """Put the items of all sections together, in canonical order."""
    return Bank(as_of, tuple(sorted(items, key=lambda item: (item.domain, item.item_id))), n_deltas)


def fold_section(key: Key, rows: Sequence[Delta], config: MemoryConfig, embed: EmbedKeys) -> list[MemoryItem]:
    """Fold the rows of one section, given in canonical order, into its items."""
    adds = [row for row in rows if row.op == "ADD"]
    if key[1]:
        items = [*fold_place(adds, config)]
    else:
        items = [*lessons(adds)]
        runs = [row for row in rows if row.op == "EVIDENCE" and row.outcome in ("success", "failure") and row.path]
        items += [*contrasts(runs, config, embed), *workflows(runs, config), *preconditions(runs, config)]
    return [item for item in items if len(item.task_ids) >= config.min_tasks]

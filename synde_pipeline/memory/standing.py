"""Where an item stands: shown to agents, waiting for support, beyond the budget, retired or quarantined. Pure.

What decides, the first that applies:

* A person's word: quarantined, retired, or superseded by another item; undone by restoring it.
* Nobody who is listened to says it (`sources`): quarantined, unless a person restored it.
* A person pinned it: active, whatever follows.
* Another item took its place, as evidence changed (`places`, `opposites`): retired, unless a person restored it.
* Fewer than `min_tasks` distinct tasks support it, and no person says it: a candidate.
* Runs do worse with it than without: retired. Two Beta posteriors over tasks, from uniform priors, are compared; a weak
  agent fails with everything, so failures alone say nothing. At least `min_tasks` tasks must have failed with it.
* The better ranked items of its domain use up the token budget: archived.

A machine's UPDATE or SUPERSEDE counts when `min_tasks` distinct tasks say the same, and before anything a person says.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from math import exp, lgamma, log
from typing import NamedTuple

from synde_pipeline.memory.rows import Edit
from synde_pipeline.prompting.parts import item_text
from synde_pipeline.records import MemoryItem, Status
from synde_pipeline.settings import MemoryConfig


@dataclass(frozen=True)
class Ruling:
    """What edits amount to."""

    texts: dict[str, str] = field(default_factory=dict)
    """New title, description or content."""
    is_pinned: bool = False
    ended: str = ""
    """retire, quarantine or the id of a successor."""
    by: str = ""
    """Who ended it."""
    is_restored: bool = False
    since: date | None = None
    """When a person last gave it other words or restored it: what was before is forgiven."""


NO_RULING = Ruling()


def rule(edits: Sequence[Edit], min_tasks: int) -> Ruling:
    """What edits of one item, in the order in which they count, amount to."""
    ruling = NO_RULING
    for edit in [*_agreed(edits, min_tasks), *(edit for edit in edits if edit.is_human)]:
        ruling = _after(ruling, edit)
    return ruling


def _agreed(edits: Sequence[Edit], min_tasks: int) -> list[Edit]:
    """Changes by machines that enough tasks call for; keeping and restoring is a person's."""
    tasks: dict[tuple[str, ...], set[str]] = defaultdict(set)
    said = [edit for edit in edits if not edit.is_human and (edit.op == "SUPERSEDE" or edit.value == "text")]
    for edit in said:
        tasks[_says(edit)].add(edit.task_id)
    return [edit for edit in said if len(tasks[_says(edit)]) >= min_tasks]


def _says(edit: Edit) -> tuple[str, ...]:
    return edit.op, edit.value, edit.title, edit.description, edit.content


def _after(ruling: Ruling, edit: Edit) -> Ruling:
    if edit.op == "SUPERSEDE":
        return replace(ruling, ended=edit.value, by="a person" if edit.is_human else "a reflector", is_restored=False)
    if edit.value in ("text", "bare"):
        since = edit.effective_day if edit.is_human else ruling.since
        return replace(ruling, texts=ruling.texts | edit.texts, since=since)
    if edit.value == "restore":
        return replace(ruling, ended="", by="", is_restored=True, since=edit.effective_day)
    return replace(ruling, is_pinned=edit.value == "pin") if edit.value in ("pin", "unpin") else ruling


class Standing(NamedTuple):
    """Where an item stands, and why in words."""

    status: Status
    reason: str = ""


def backing(item: MemoryItem, min_tasks: int) -> int:
    """Distinct tasks behind an item; a person's word is as good as `min_tasks`."""
    n_tasks, is_said = len(item.task_ids), any(not support.task_id for support in item.supports)
    return max(n_tasks, min_tasks) if is_said else n_tasks


Without = Callable[[], tuple[int, int]]
"""Tasks that succeeded, and that failed, without the item."""


def standing(
    item: MemoryItem, n_tasks: int, ruling: Ruling, fared: tuple[int, int], without: Without, config: MemoryConfig
) -> Standing:
    """Where an item stands, budget apart.

    Args:
        item: a draft.
        n_tasks: behind it, enough where a person says it; see `backing`.
        ruling: what was said about it.
        fared: tasks that succeeded, and that failed, with it.
        without: asked only where enough failed.
        config: thresholds.
    """
    if ruling.ended:
        return _ended(ruling)
    if item.status == "quarantined" and not ruling.is_restored:
        return Standing("quarantined", item.reason)
    if ruling.is_pinned:
        return Standing("active")
    if item.successor and not ruling.is_restored:
        return Standing("retired", item.reason)
    if n_tasks < config.min_tasks:
        return Standing("candidate", f"{n_tasks} of {config.min_tasks} tasks support it")
    helpful, harmful = fared
    if harmful < config.min_tasks:
        return Standing("active")
    other = without()
    worse = probability_worse(fared, other)
    if worse < config.retire:
        return Standing("active")
    rates = f"{helpful} of {helpful + harmful} tasks succeeded with it, {other[0]} of {sum(other)} without"
    return Standing("retired", f"{rates}: worse with probability {worse:.3f}")


def _ended(ruling: Ruling) -> Standing:
    if ruling.ended == "quarantine":
        return Standing("quarantined", f"by {ruling.by}")
    how = "retired" if ruling.ended == "retire" else f"superseded with {ruling.ended}"
    return Standing("retired", f"{how} by {ruling.by}")


@lru_cache(maxsize=2**16)
def probability_worse(fared: tuple[int, int], other: tuple[int, int]) -> float:
    """P(p < q) for p ~ Beta(1 + s, 1 + f) and q ~ Beta(1 + s', 1 + f'), given (s, f) and (s', f').

    Exact for whole numbers: p < q says that 1 - q < 1 - p, and for a whole a = 1 + f, 1 - p ~ Beta(a, 1 + s) exceeds
    1 - q ~ Beta(c, d) with probability sum over i < a of B(c + i, 1 + s + d) / ((1 + s + i) B(1 + i, 1 + s) B(c, d)).
    """
    (s, f), (c, d) = fared, (1 + other[1], 1 + other[0])
    terms = (_log_beta(c + i, 1 + s + d) - _log_beta(1 + i, 1 + s) - log(1 + s + i) for i in range(1 + f))
    return min(1.0, sum(exp(term - _log_beta(c, d)) for term in terms))


def _log_beta(a: int, b: int) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


# -- the token budget -----------------------------------------------------------------------------------------------


class Ranked(NamedTuple):
    """An active item as it stands in its domain's ranking: the least comes first."""

    is_loose: bool
    """Not pinned."""
    harm: int
    """Tasks that failed with it, less those that succeeded."""
    lack: int
    """Less one for each task behind it."""
    item_id: str
    tokens: int


def n_tokens(item: MemoryItem) -> int:
    """Roughly, the tokens of what an agent reads of it."""
    return len(item_text(item)) // 4 + 1


def beyond(ranked: Iterable[Ranked], max_tokens: int) -> set[str]:
    """Ids of the items that the budget leaves no room for; pinned ones always have room.

    An item beyond the whole budget never fits, and keeps nobody out.
    """
    ranked = sorted(ranked)
    out = {item.item_id for item in ranked if item.is_loose and item.tokens > max_tokens}
    left, n_huge = max_tokens, len(out)
    for item in ranked:
        if item.item_id in out:
            continue
        if item.is_loose and (len(out) > n_huge or item.tokens > left):
            out.add(item.item_id)
        else:
            left -= item.tokens
    return out

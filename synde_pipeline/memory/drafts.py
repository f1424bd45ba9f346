"""Rows of one unit -> draft items: text and supports, before anything is said about how they fared. Pure."""

from collections.abc import Sequence

from synde_pipeline.memory.contrast import contrasts
from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.memory.lessons import lessons
from synde_pipeline.memory.places import fold_place
from synde_pipeline.memory.preconditions import preconditions
from synde_pipeline.memory.rows import RUNS, Unit
from synde_pipeline.memory.sources import WhyNot
from synde_pipeline.memory.workflows import workflows
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.settings import MemoryConfig


def drafts(
    unit: Unit, rows: Sequence[Delta], why_not: WhyNot, config: MemoryConfig, embed: EmbedKeys
) -> list[MemoryItem]:
    """The draft items of a unit, each id once; quarantined where nobody who is listened to says so.

    Args:
        unit: whose rows they are.
        rows: in canonical order.
        why_not: judge of rows.
        config: how many tasks it takes, and what says the same.
        embed: embeds tasks and keys, to find similar ones.
    """
    heard = [row for row in rows if not why_not(row)]
    found = {item.item_id: item for item in reversed(_drafts(unit, heard, config, embed))}
    if len(heard) < len(rows) and unit.kind != RUNS:
        shut_out = [row for row in rows if why_not(row)]
        known = {name for item in found.values() for name in (item.item_id, *item.merged)}
        for item in _drafts(unit, shut_out, config, embed):
            if item.item_id not in known:
                uids = {support.trace_uid for support in item.supports}
                reason = min(why_not(row) for row in shut_out if row.trace_uid in uids)
                found[item.item_id] = item.model_copy(update={"status": "quarantined", "reason": reason})
    return list(found.values())


def _drafts(unit: Unit, rows: Sequence[Delta], config: MemoryConfig, embed: EmbedKeys) -> list[MemoryItem]:
    adds = [row for row in rows if row.op == "ADD"]
    if unit.place:
        return [*fold_place(adds, config)]
    if unit.kind != RUNS:
        return lessons(adds, embed, config.same)
    runs = [row for row in rows if row.outcome in ("success", "failure")]
    return [*contrasts(runs, config, embed), *workflows(runs, config), *preconditions(runs, config)]

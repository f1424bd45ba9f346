"""A cycle's claimed examples plus replay -> packed token sequences with a weight and a flag for every token."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import PromptEncoder, Window
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import Cycle, claimed_examples, cycles
from synde_pipeline.training.examples import Example, ExampleTurn, shown_part, shows_memory, turns_of
from synde_pipeline.training.groups import groups_of, replay_of_groups
from synde_pipeline.training.replay import replay_sample

SHARD = pa.schema(
    [
        pa.field("trace_uid", pa.string(), nullable=False),
        pa.field("task_id", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("is_replay", pa.bool_(), nullable=False),
        pa.field("n_memory_items", pa.int32(), nullable=False),
        pa.field("memory_trajectories", pa.list_(pa.string()), nullable=False),  # whose evidence the shown items hold
        pa.field("n_dropped_steps", pa.int32(), nullable=False),
        pa.field("n_elided", pa.int32(), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        # weights[i] and avoid[i] are about predicting input_ids[i]
        pa.field("weights", pa.list_(pa.float32()), nullable=False),
        pa.field("avoid", pa.list_(pa.bool_()), nullable=False),
    ]
)

ShardRow = dict[str, Any]
"""One row of `SHARD`: one training sequence."""


@dataclass(frozen=True)
class Shard:
    """A packed shard and how it came together."""

    rows: list[ShardRow]
    replayed: list[str]
    """Trajectories drawn from earlier cycles."""


def build_shard(
    warehouse: Warehouse, cycle: Cycle, memory: Memory, encoder: PromptEncoder, settings: Settings
) -> Shard:
    """Pack a cycle: claimed trajectories first, then replay, each in canonical order.

    Replay is a random fifth of the whole; where adapters are routed, all that the touched groups were trained on.

    Half of the sequences (tip dropout) carry the memory items that their agent would have been shown: as of the day
    before, without the task itself. So the adapter works with and without context.
    """
    new = _by_trajectory(claimed_examples(warehouse, cycle.key))
    earlier: dict[str, list[Example]] = {}
    for before in cycles(warehouse):
        if before.sequence < cycle.sequence:
            earlier |= _by_trajectory(claimed_examples(warehouse, before.key))
    if settings.training.composition == "routed":
        groups = groups_of(warehouse, cycle, settings.training.scopes_per_adapter)
        drawn = replay_of_groups(groups, new, earlier, cycle.domain, per_scope=settings.training.replay_per_scope)
    else:
        drawn = replay_sample(list(earlier), len(new), settings.buffer.replay_fraction, seed=cycle.key)
    rows: list[ShardRow] = []
    for uid in sorted(new):
        rows += _sequences(new[uid], memory, encoder, settings, is_replay=False)
    for uid in drawn:
        rows += _sequences(earlier[uid], memory, encoder, settings, is_replay=True)
    return Shard(rows, drawn)


def _by_trajectory(examples: list[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example["metadata"]["trajectory_id"]].append(example)
    return dict(groups)


def _sequences(
    examples: list[Example], memory: Memory, encoder: PromptEncoder, settings: Settings, *, is_replay: bool
) -> list[ShardRow]:
    meta, task = examples[0]["metadata"], examples[0]["context"]["task"]
    turns = turns_of(examples)
    rows = []
    for items in _views(examples[0], memory, settings):
        supports = sorted({support.trace_uid for item in items for support in item.supports})
        for window in encoder.windows(meta["domain"], task, items, turns):
            weights, avoid = token_weights(window, turns, arguments_only=settings.training.credit == "step")
            if any(weights):
                rows.append(
                    {
                        "trace_uid": meta["trajectory_id"],
                        "task_id": meta["task_id"],
                        "scope": meta["scope"],
                        "is_replay": is_replay,
                        "n_memory_items": len(items),
                        "memory_trajectories": supports,
                        "n_dropped_steps": window.n_dropped_steps,
                        "n_elided": window.n_elided,
                        "input_ids": window.ids,
                        "weights": weights,
                        "avoid": avoid,
                    }
                )
    return rows


def _views(example: Example, memory: Memory, settings: Settings) -> Iterator[list[MemoryItem]]:
    """The memory that each training sequence of a trajectory carries; one view shows all of it or nothing."""
    meta, config = example["metadata"], settings.training
    uid = meta["trajectory_id"]

    def recalled() -> list[MemoryItem]:
        day_before = date.fromisoformat(meta["day"]) - timedelta(days=1)
        return memory.recall(
            example["context"]["task"],
            domain=meta["domain"],
            as_of=day_before,
            without_task=meta["task_id"],
            scope=meta["scope"],
        )

    if config.views == 1:
        yield recalled() if shows_memory(uid, dropout=config.tip_dropout) else []
    else:
        items = recalled()
        for view in range(config.views):
            yield shown_part(items, uid, view, dropout=config.tip_dropout)


def token_weights(
    window: Window, turns: list[ExampleTurn], *, arguments_only: bool = False
) -> tuple[list[float], list[bool]]:
    """Weights and unlikelihood flags of tokens: reasoning and action of imitated steps, action of avoided ones.

    With `arguments_only` an avoided step's tool is let off: where each action is judged, calling the tool again was
    right, and what it was called with was wrong.
    """
    weights = [0.0] * len(window.ids)
    avoid = [False] * len(window.ids)
    by_index = {turn.index: turn for turn in turns}
    for span in window.targets:
        turn = by_index[span.index]
        if turn.signal == "imitate":
            for start, end in (span.reasoning, span.action):
                weights[start:end] = [turn.weight] * (end - start)
        elif turn.signal == "avoid":
            has_arguments = span.arguments[0] < span.arguments[1]
            start, end = span.arguments if arguments_only and has_arguments else span.action
            weights[start:end] = [turn.weight] * (end - start)
            avoid[start:end] = [True] * (end - start)
    return weights, avoid

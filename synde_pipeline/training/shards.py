"""A cycle's claimed examples plus replay -> packed token sequences with a weight and a flag for every token.

What a sequence shows, and what is learned from it, is the objective's to say (`settings_slow.Objective`).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.memory.sources import source_of
from synde_pipeline.prompting import PromptEncoder, Window
from synde_pipeline.records import MemoryItem, content_hash
from synde_pipeline.settings import Settings, TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import Cycle, claimed_examples, cycles
from synde_pipeline.training.examples import Example, ExampleTurn, shown_part, shows_memory, turns_of
from synde_pipeline.training.from_memory import LESSONS, Scribe, items_at
from synde_pipeline.training.groups import groups_of, replay_of_groups
from synde_pipeline.training.replay import draw_old
from synde_pipeline.training.teacher import lesson
from synde_pipeline.training.weights import weight_of

SHARD = pa.schema(
    [
        pa.field("trace_uid", pa.string(), nullable=False),
        pa.field("task_id", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("is_replay", pa.bool_(), nullable=False),
        pa.field("n_memory_items", pa.int32(), nullable=False),
        pa.field("memory_trajectories", pa.list_(pa.string()), nullable=False),  # whose evidence the items read hold
        pa.field("n_dropped_steps", pa.int32(), nullable=False),
        pa.field("n_elided", pa.int32(), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        # weights[i] and avoid[i] are about predicting input_ids[i]
        pa.field("weights", pa.list_(pa.float32()), nullable=False),
        pa.field("avoid", pa.list_(pa.bool_()), nullable=False),
        # the same turns with all of the memory, and where each imitated token stands there; empty: nothing to distil
        pa.field("teacher_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("teacher_at", pa.list_(pa.int32()), nullable=False),
        pa.field("n_untaught_steps", pa.int32(), nullable=False),  # targets dropped: the teacher's window lacks them
    ]
)

ShardRow = dict[str, Any]
"""One row of `SHARD`: one training sequence."""

MOST_TAUGHT = 12
"""Items that a teacher reads, more than an agent is shown: what the memory leaves unsaid it could only guess at."""

WRITTEN = "memory:"
"""Begins the `trace_uid` and the `task_id` of a trajectory that was written from memory."""


@dataclass(frozen=True)
class Shard:
    """A packed shard and how it came together."""

    rows: list[ShardRow]
    replayed: list[str]
    """Trajectories drawn from earlier cycles; under `from_memory` those whose places are written about again."""
    items: list[MemoryItem]
    """Memory items that sequences show, are taught with or were written from, each state of an item once."""

    @property
    def memory_hash(self) -> str:
        """Content hash of the memory that was read."""
        return content_hash(sorted(item.model_dump_json() for item in self.items))


def rows_rule(config: TrainingConfig) -> str:
    """Hash of the knobs that shape a shard's rows, beside those of `groups.replay_rule`."""
    return content_hash(
        [config.objective, config.credit, config.views, config.tip_dropout]
        + [config.weight_success, config.weight_failure] * (config.objective == "from_memory")
    )


@dataclass(frozen=True)
class _Run:
    """One trajectory, lived or written, and the memory that its agent would have been shown."""

    trace_uid: str
    task_id: str
    domain: str
    scope: str
    task: str
    turns: list[ExampleTurn]
    query: Query
    """What its agent would have asked the memory."""
    sources: tuple[MemoryItem, ...] = ()
    """Items that it was written from."""
    is_replay: bool = False


def build_shard(
    warehouse: Warehouse,
    cycle: Cycle,
    memory: Memory,
    encoder: PromptEncoder,
    settings: Settings,
    scribe: Scribe = LESSONS,
) -> Shard:
    """Pack a cycle: claimed trajectories first, then replay, each in canonical order.

    Replay is a random share of the whole; where adapters are routed, all that the touched groups were trained on. What
    a source said that the cycle does not listen to is not drawn.
    Memory is what the agent would have been shown: as of the day before, without the task itself. Written trajectories
    take the places of both, and the bank as of the cycle's last day.

    Args:
        warehouse: where cycles lie.
        cycle: to pack.
        memory: the ledger.
        encoder: of the pinned base.
        settings: objective, composition and shares.
        scribe: writes trajectories, under `from_memory`.
    """
    new = _by_trajectory(claimed_examples(warehouse, cycle.key))
    earlier: dict[str, list[Example]] = {}
    for before in cycles(warehouse):
        if before.sequence < cycle.sequence:
            earlier |= _by_trajectory(claimed_examples(warehouse, before.key))
    out = new.keys() | {uid for uid in earlier if source_of(uid) in cycle.left_out}  # a rejected cycle may have had new
    earlier = {uid: rows for uid, rows in earlier.items() if uid not in out}
    if settings.training.composition == "routed":
        groups = groups_of(warehouse, cycle, settings.training.scopes_per_adapter)
        drawn = replay_of_groups(groups, new, earlier, cycle.domain, per_scope=settings.training.replay_per_scope)
    else:
        domains = {uid: rows[0]["metadata"]["domain"] for uid, rows in earlier.items()}
        own = {uid: domain for uid, domain in domains.items() if domain == cycle.domain}
        drawn = draw_old(own, len(new), settings.training, seed=cycle.key)
    runs = [_logged(new[uid]) for uid in sorted(new)]
    runs += [replace(_logged(earlier[uid]), is_replay=True) for uid in drawn]
    if settings.training.objective == "from_memory":
        runs = list(_written(runs, memory, cycle.last_day, scribe, settings.training))
    packer = _Packer(memory, encoder, settings.training)
    rows = [row for run in runs for row in packer.sequences(run)]
    return Shard(rows, drawn, list(packer.items))


def pack(
    examples: list[Example], memory: Memory, encoder: PromptEncoder, config: TrainingConfig
) -> dict[str, list[ShardRow]]:
    """Training sequences of examples that no cycle claimed, by trajectory; memory is what would have been shown."""
    packer = _Packer(memory, encoder, config)
    return {uid: list(packer.sequences(_logged(rows))) for uid, rows in sorted(_by_trajectory(examples).items())}


def _by_trajectory(examples: list[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example["metadata"]["trajectory_id"]].append(example)
    return dict(groups)


def _logged(examples: list[Example]) -> _Run:
    meta, task = examples[0]["metadata"], examples[0]["context"]["task"]
    day_before = date.fromisoformat(meta["day"]) - timedelta(days=1)
    query = Query(task, meta["domain"], day_before, without_task=meta["task_id"], scope=meta["scope"])
    about = (meta["trajectory_id"], meta["task_id"], meta["domain"], meta["scope"])
    return _Run(*about, task, turns_of(examples), query)


def _written(logged: list[_Run], memory: Memory, as_of: date, scribe: Scribe, config: TrainingConfig) -> Iterator[_Run]:
    """Trajectories about the places of the logged ones, which lend nothing else; places of replay alone are replay."""
    places: dict[tuple[str, str], bool] = {}
    for run in logged:
        places.setdefault((run.domain, run.scope), run.is_replay)
    bank = memory.bank(as_of)
    for (domain, scope), is_replay in sorted(places.items()):
        items = items_at(bank, domain, scope)
        for number, written in enumerate(scribe(domain, scope, items)):
            name = f"{WRITTEN}{domain}:{scope or 'everywhere'}-{number}"
            yield _Run(
                trace_uid=name,
                task_id=name,
                domain=domain,
                scope=scope,
                task=written.task,
                turns=[replace(turn, weight=weight_of(turn.signal, "success", config)) for turn in written.turns],
                query=Query(written.task, domain, as_of, scope=scope),
                sources=tuple(items),
                is_replay=is_replay,
            )


class _Packer:
    """Runs -> sequences; remembers which items they read."""

    def __init__(self, memory: Memory, encoder: PromptEncoder, config: TrainingConfig) -> None:
        self._memory = memory
        self._encoder = encoder
        self._config = config
        self.items: dict[MemoryItem, None] = {}

    def sequences(self, run: _Run) -> Iterator[ShardRow]:
        """One row for each view and window that holds something to learn."""
        for shown, full in self._views(run):
            teacher = self._encoder.windows(run.domain, run.task, full, run.turns) if full else []
            read = [*run.sources, *(full or shown)]
            self.items.update(dict.fromkeys(read))
            supports = sorted({support.trace_uid for item in read for support in item.supports})
            for window in self._encoder.windows(run.domain, run.task, shown, run.turns):
                arguments_only = self._config.credit == "step"
                weights, avoid = token_weights(window, run.turns, arguments_only=arguments_only)
                taught = lesson(window, weights, avoid, teacher)
                if any(taught.weights):
                    yield {
                        "trace_uid": run.trace_uid,
                        "task_id": run.task_id,
                        "scope": run.scope,
                        "is_replay": run.is_replay,
                        "n_memory_items": len(shown),
                        "memory_trajectories": supports,
                        "n_dropped_steps": window.n_dropped_steps,
                        "n_elided": window.n_elided,
                        "input_ids": window.ids,
                        "weights": taught.weights,
                        "avoid": avoid,
                        "teacher_ids": taught.ids,
                        "teacher_at": taught.at,
                        "n_untaught_steps": taught.n_lost,
                    }

    def _recall(self, run: _Run, top_k: int | None = None) -> list[MemoryItem]:
        return self._memory.recall_many([run.query], top_k=top_k)[0]

    def _views(self, run: _Run) -> Iterator[tuple[list[MemoryItem], list[MemoryItem]]]:
        """What each sequence of a trajectory shows, and what its teacher reads.

        Imitation shows nothing. A single view shows all of the memory or nothing; more, and students, a part of it.
        """
        config, uid = self._config, run.trace_uid
        if config.objective == "imitation":
            yield [], []
        elif config.objective == "context_distillation":
            items = self._recall(run)
            full = max(items, self._recall(run, MOST_TAUGHT), key=len)
            for view in range(config.views):
                yield shown_part(items, uid, view, dropout=config.tip_dropout), full
        elif config.views == 1:
            yield self._recall(run) if shows_memory(uid, dropout=config.tip_dropout) else [], []
        else:
            items = self._recall(run)
            for view in range(config.views):
                yield shown_part(items, uid, view, dropout=config.tip_dropout), []


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

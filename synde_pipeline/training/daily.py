"""`training_examples[D]` and `training_shards[C]`, and the base model that tokenises the shards."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pyarrow as pa

from synde_pipeline.base_model import load, pin_given
from synde_pipeline.lineage import fresh_header
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.memory.embed import pinned_name
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import Trajectory, content_hash
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import load_reflections
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.buffer import SOURCE
from synde_pipeline.training.cycles import Cycle, cycles
from synde_pipeline.training.examples import EXAMPLES, Example, examples_of
from synde_pipeline.training.from_memory import LESSONS, Scribe
from synde_pipeline.training.groups import replay_rule
from synde_pipeline.training.known import known_now, known_to, memory_at, trajectories_at
from synde_pipeline.training.pretrain import build_base, first_days
from synde_pipeline.training.shards import SHARD, build_shard, rows_rule
from synde_pipeline.training.trust import Trust

SHARDS = "training_shards"
_WEIGHING = {"credit", "weight_success", "weight_partial", "weight_failure"}
"""Knobs that examples depend on."""


def publish_examples(warehouse: Warehouse, day: date, settings: Settings) -> Header:
    """Write the day's training examples, a pure function of its raw logs and reflections.

    Raises:
        LineageError: the day's reflections are missing or stale.
    """
    source = fresh_header(warehouse, REFLECTIONS, str(day), {RAW_LOGS: str(day)})
    reflections = {item.trace_uid: item for item in load_reflections(warehouse, day)}
    trajectories = load_raw_logs(warehouse, day)
    examples: list[Example] = []
    for trajectory in trajectories:
        examples += examples_of(trajectory, reflections[trajectory.trace_uid], settings.training)
    header = Header(
        artefact=SOURCE,
        key=str(day),
        content_hash=content_hash(examples),
        inputs={
            REFLECTIONS: source.content_hash,
            RAW_LOGS: source.inputs[RAW_LOGS],
            "weights": content_hash(settings.training.model_dump(include=_WEIGHING)),
        },
        counts={
            "examples": len(examples),
            "with_signal": sum(example["metadata"]["contrastive_weight"] > 0 for example in examples),
        },
    )
    return warehouse.publish_table(header, pa.Table.from_pylist(examples, schema=EXAMPLES))


def ensure_base(warehouse: Warehouse, settings: Settings, trajectories: Iterable[Trajectory] | None = None) -> Header:
    """The base that this warehouse is pinned to; pinned or built now if there is none yet.

    Raises:
        BaseModelError: the named base is missing or is not the pinned one, or there are no logs to build one from.
    """
    pinned = pin_given(warehouse, settings)
    if pinned is not None:
        return pinned
    frozen = cycles(warehouse)
    known = known_to(warehouse, frozen[0].key) if frozen else known_now(warehouse)
    trust = known.trust if frozen and known else Trust.now(warehouse, settings.memory)
    runs = [run for run in trajectories or trajectories_at(warehouse, known) if not trust.why_not(run.trace_uid)]
    corpus = first_days(runs, settings.pretrain.fraction)
    memory = memory_at(warehouse, settings.memory, known)
    return build_base(warehouse, corpus, memory, settings.pretrain, settings.prompt)


def publish_shard(warehouse: Warehouse, cycle: Cycle, settings: Settings, scribe: Scribe = LESSONS) -> Header:
    """Pack a cycle's claimed examples and replay into token sequences of the pinned base."""
    base = load(warehouse)
    memory = memory_at(warehouse, settings.memory, known_to(warehouse, cycle.key))
    encoder = PromptEncoder(base.tokenizer, settings.prompt)
    shard = build_shard(warehouse, cycle, memory, encoder, settings, scribe)
    rows = shard.rows
    is_written = settings.training.objective == "from_memory"
    header = Header(
        artefact=SHARDS,
        key=cycle.key,
        content_hash=content_hash(rows),
        inputs={
            "base_model": base.hash,
            "cycle": cycle.content_hash,
            "replay": replay_rule(settings.training),
            "rows": rows_rule(settings.training),
            "memory": shard.memory_hash,
            **({"scribe": scribe.name} if is_written else {}),
            "settings": content_hash([settings.prompt.model_dump(), settings.memory.model_dump()]),
        },
        counts={
            "sequences": len(rows),
            "tokens": sum(len(row["input_ids"]) for row in rows),
            "target_tokens": sum(weight > 0 for row in rows for weight in row["weights"]),
            "trajectories": len({row["trace_uid"] for row in rows if not row["is_replay"]}),
            "replayed_trajectories": len(shard.replayed),
            "with_memory": sum(row["n_memory_items"] > 0 for row in rows),
            "with_teacher": sum(bool(row["teacher_ids"]) for row in rows),
            "untaught_steps": sum(row["n_untaught_steps"] for row in rows),
            "texts_elided": sum(row["n_elided"] for row in rows),
        },
        info={
            "settings": _read_by_shards(settings),
            "claims": [{"day": day, "content_hash": found, "trajectories": n} for day, found, n in cycle.claims],
            "embedder": pinned_name(settings.memory.embedder),
            "layout": {"name": encoder.layout, "reason": encoder.reason},
        },
    )
    return warehouse.publish_table(header, pa.Table.from_pylist(rows, schema=SHARD))


def _read_by_shards(settings: Settings) -> dict[str, Any]:
    """The knobs that a shard and its training follow, so that they can be done again as they were."""
    named = {"training", "buffer", "prompt", "memory"}
    return settings.model_dump(mode="json", include=named)

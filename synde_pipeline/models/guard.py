"""What a training must leave as it is: the base's own data beside its rows, and what earlier cycles of its ledger read.

What a cycle's modules read (null space), and how much its predictions hang on them (EWC), is a function of the ledger
up to the cycle and of its shard. It is measured when a later cycle first asks for it, and kept.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from synde_pipeline.base_model import Base, load, lora_targets
from synde_pipeline.models.compose import Entry, compose, ledger_hash
from synde_pipeline.records import content_hash
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training import null_space, regularize
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.base_replay import BaseData, sampled_texts
from synde_pipeline.training.daily import SHARDS
from synde_pipeline.training.null_space import Moments, Projection, moments_of
from synde_pipeline.training.regularize import Fisher, accumulated, ewc, fisher_of
from synde_pipeline.training.shards import ShardRow
from synde_pipeline.training.train import TrainingRun

Penalty = Callable[[AdapterBank], Any]


def base_data(warehouse: Warehouse, base: Base, config: TrainingConfig, given: BaseData | None) -> BaseData | None:
    """The base's own data where the config asks for some: what was given, else texts sampled from the base."""
    if not config.base_replay:
        return None
    return given or sampled_texts(warehouse, base)


def guarded(warehouse: Warehouse, entries: Sequence[Entry], config: TrainingConfig) -> TrainingRun:
    """The projection and the penalty that protect the cycles of a ledger; nothing on an empty one."""
    if not entries:
        return TrainingRun()
    after_step = penalty = None
    if config.composition == "null_space":
        after_step = Projection.of(null_space.merge(_moments(warehouse, entries, config))).after_step
    if config.ewc != "off":
        first, *others = _fishers(warehouse, entries, config.ewc, config)
        for one in others:
            first = accumulated(first, one)
        penalty = ewc(first, config.ewc_strength)
    return TrainingRun(penalty=penalty, after_step=after_step)


def _moments(warehouse: Warehouse, entries: Sequence[Entry], config: TrainingConfig) -> list[Moments]:
    found = []
    for k, entry in enumerate(entries):
        inputs = _inputs(warehouse, entries[: k + 1], config)
        if not _is_held(warehouse, null_space.ARTEFACT, entry.cycle, inputs):
            model, rows, names = _read(warehouse, entries[: k + 1], config)
            null_space.publish(warehouse, entry.cycle, moments_of(model, rows, pad_id=0, names=names), inputs)
        found.append(null_space.load(warehouse, [entry.cycle]))
    return found


def _fishers(
    warehouse: Warehouse, entries: Sequence[Entry], kind: Literal["kfac", "diagonal"], config: TrainingConfig
) -> list[Fisher]:
    found = []
    for k, entry in enumerate(entries):
        inputs = {**_inputs(warehouse, entries[: k + 1], config), "kind": kind}
        if not _is_held(warehouse, regularize.ARTEFACT, entry.cycle, inputs):
            model, rows, names = _read(warehouse, entries[: k + 1], config)
            fisher = fisher_of(model, rows, kind, pad_id=0, names=names)
            regularize.publish(warehouse, entry.cycle, fisher, inputs)
        found.append(regularize.load(warehouse, entry.cycle))
    return found


def _inputs(warehouse: Warehouse, entries: Sequence[Entry], config: TrainingConfig) -> dict[str, str]:
    """What a cycle's measurement depends on; the cycle is the last entry's."""
    shard: Header | None = warehouse.header(SHARDS, entries[-1].cycle)
    return {
        "ledger": ledger_hash(entries),
        SHARDS: shard.content_hash if shard else "nothing",
        "settings": content_hash({"o_proj": config.o_proj}),
    }


def _is_held(warehouse: Warehouse, artefact: str, cycle: str, inputs: dict[str, str]) -> bool:
    header = warehouse.header(artefact, cycle)
    return header is not None and header.inputs == inputs


def _read(
    warehouse: Warehouse, entries: Sequence[Entry], config: TrainingConfig
) -> tuple[Any, list[ShardRow], list[str]]:
    """The model with the ledger merged into it, the last cycle's own sequences, and the modules to look at."""
    model = compose(warehouse, load(warehouse), entries)
    rows = warehouse.read_table(SHARDS, entries[-1].cycle).to_pylist()
    return model, [row for row in rows if not row["is_replay"]], lora_targets(model, o_proj=config.o_proj)

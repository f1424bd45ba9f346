"""What is done otherwise where a warehouse belongs to a simulation; users' warehouses load nothing of it.

A laboratory's cycles are judged by acting, and its memory is written out in the words of its worlds.
"""

from typing import Any

from synde_pipeline.base_model import Base, load
from synde_pipeline.evaluation import replay_gate
from synde_pipeline.evaluation.arms import evaluate_cycle
from synde_pipeline.evaluation.gate_rule import FAILED
from synde_pipeline.evaluation.gathering import Candidate, file_checks, gate_section, refused_report
from synde_pipeline.models.merge import fresh_merged
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.base_replay import BaseData, given_texts, sampled_texts
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.from_memory import LESSONS, Scribe
from synde_pipeline.training.known import known_to, trajectories_at
from synde_pipeline.training.shards import ShardRow

PROBE_SEED = 1
"""Of the gate's sampled texts; training's have seed 0."""


def report_of(warehouse: Warehouse, cycle: Cycle, settings: Settings) -> dict[str, Any]:
    """Evaluate a cycle and compare it with the champion: by acting in a laboratory, else by replaying logs.

    Raises:
        LineageError: the cycle's model is stale, or an evaluated task was learned from.
        InputError: a file of the settings cannot be read.
    """
    base = load(warehouse)
    model = fresh_merged(warehouse, cycle, base.hash)
    candidate = Candidate.of(warehouse, cycle, model, base, settings)
    files = file_checks(candidate)
    if any(item.status == FAILED for item in files):
        return refused_report(candidate, files)
    probes = probe_texts(warehouse, base, settings)
    if settings.simulation is None:
        known = list(trajectories_at(warehouse, known_to(warehouse, cycle.key)))
        report = evaluate_cycle(warehouse, cycle, known, settings)
        gate = gate_section(candidate, lambda one: replay_gate.gathered(one, known), files, probes)
    else:
        from synde_pipeline.simulation import evaluate, gating  # only laboratories load them

        report = evaluate.evaluate_cycle(warehouse, cycle, settings)
        gate = gate_section(candidate, gating.gathered, files, probes)
    return {**report, "gate": gate}


def probe_texts(warehouse: Warehouse, base: Base, settings: Settings) -> list[ShardRow]:
    """Texts of the base's own data on which the gate measures forgetting; no training draws the same ones.

    A user's file is the exception: it holds what it holds.
    """
    n = settings.gate.probe_texts
    data = _given_data(base.tokenizer, settings)
    return (data or sampled_texts(warehouse, base, n=n, n_tokens=64, seed=PROBE_SEED)).rows(n, "gate")


def base_data_for(warehouse: Warehouse, settings: Settings) -> BaseData | None:
    """The base's own data: a user's texts or a simulation's corpus; None has it sampled, or none is asked for.

    Raises:
        InputError: the user's file cannot be read.
    """
    if not settings.training.base_replay or (settings.replay_data is None and settings.simulation is None):
        return None
    return _given_data(load(warehouse).tokenizer, settings)


def _given_data(tokenizer: Any, settings: Settings) -> BaseData | None:
    if settings.replay_data is not None:
        return given_texts(settings.replay_data, tokenizer)
    if settings.simulation is None:
        return None
    from synde_pipeline.simulation.base_data import CorpusData  # only laboratories load it

    return CorpusData(tokenizer, PromptEncoder(tokenizer, settings.prompt))


def scribe_for(settings: Settings) -> Scribe:
    """Who writes trajectories from memory."""
    if settings.simulation is None:
        return LESSONS
    from synde_pipeline.simulation.scribe import scribe_of  # only laboratories load it

    return scribe_of(settings.simulation)

"""What is done otherwise where a warehouse belongs to a simulation; users' warehouses load nothing of it.

A laboratory's cycles are judged by acting, and its memory is written out in the words of its worlds.
"""

from typing import Any

from synde_pipeline.base_model import load
from synde_pipeline.evaluation.arms import evaluate_cycle
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.base_replay import BaseData, given_texts
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.from_memory import LESSONS, Scribe
from synde_pipeline.training.known import known_to, trajectories_at


def report_of(warehouse: Warehouse, cycle: Cycle, settings: Settings) -> dict[str, Any]:
    """Evaluate a cycle: by acting in a laboratory, else by replaying logs.

    Raises:
        LineageError: the cycle's model is stale, or an evaluated task was learned from.
    """
    if settings.simulation is None:
        known = known_to(warehouse, cycle.key)
        return evaluate_cycle(warehouse, cycle, trajectories_at(warehouse, known), settings)
    from synde_pipeline.simulation import evaluate  # only laboratories load it

    return evaluate.evaluate_cycle(warehouse, cycle, settings)


def base_data_for(warehouse: Warehouse, settings: Settings) -> BaseData | None:
    """The base's own data: a user's texts or a simulation's corpus; None has it sampled, or none is asked for.

    Raises:
        InputError: the user's file cannot be read.
    """
    if not settings.training.base_replay or (settings.replay_data is None and settings.simulation is None):
        return None
    tokenizer = load(warehouse).tokenizer
    if settings.replay_data is not None:
        return given_texts(settings.replay_data, tokenizer)
    from synde_pipeline.simulation.base_data import CorpusData  # only laboratories load it

    return CorpusData(tokenizer, PromptEncoder(tokenizer, settings.prompt))


def scribe_for(settings: Settings) -> Scribe:
    """Who writes trajectories from memory."""
    if settings.simulation is None:
        return LESSONS
    from synde_pipeline.simulation.scribe import scribe_of  # only laboratories load it

    return scribe_of(settings.simulation)

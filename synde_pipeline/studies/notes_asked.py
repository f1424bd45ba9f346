"""The notes benchmark's one row with a language model: it keeps the notes of a few samples, if an endpoint is there."""

from collections.abc import Sequence
from typing import Any

from synde_pipeline.errors import LlmError
from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.llm import Llm
from synde_pipeline.memory.notes_llm import LlmLearner, asking
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.studies.creatures import CHANCE, EASY, WORDING, World
from synde_pipeline.studies.notes_claims import RESULTS
from synde_pipeline.studies.notes_runs import Cell, read, run
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.verdicts import against

CELL = Cell(momentum=0.5, accumulation=4, noise=0.1)
N_SAMPLES = 120
"""Of each seed: twelve inductions and three revisions."""
MOST_TOKENS = 200_000
"""Prompt and answer, of all seeds, counted as the most that they can be; a smaller limit of the settings is kept."""


def asked(seeds: Sequence[int], settings: Settings) -> dict[str, Any]:
    """What a language model's notes are worth on a small part of the benchmark, beside those of counting.

    Returns:
        model: empty where it did not run, then `why` says why. by_seed: accuracies of the model and of counting.
    """
    config = settings.llm
    if config.base_url is None or not config.model:
        return _not_run("no endpoint")
    limit = min(config.max_tokens or MOST_TOKENS, MOST_TOKENS)
    llm = Llm(Warehouse(settings.warehouse), config.model_copy(update={"max_tokens": limit}))
    worlds = [World.of(seed, EASY, N_SAMPLES) for seed in seeds]
    try:
        accuracies = [_accuracy(world, llm) for world in worlds]
    except LlmError as error:
        return _not_run(error.found)
    counting = [run(world, CELL).numbers()["accuracy"] for world in worlds]
    return {
        "model": config.model,
        "why": "",
        "n_samples": N_SAMPLES,
        "by_seed": {"accuracy": accuracies, "counting": counting},
    }


def _not_run(why: str) -> dict[str, Any]:
    return {"model": "", "why": why, "n_samples": N_SAMPLES, "by_seed": {"accuracy": [], "counting": []}}


def _accuracy(world: World, llm: Llm) -> float:
    learner = LlmLearner(WORDING, CELL.config, asking(llm)([f"creatures:{world.seed}"]))
    return read(world, CELL, learner).numbers()["accuracy"]


def claim_of(found: dict[str, Any], command: str) -> Claim:
    """The row's claim: without a run, nothing was measured, and the verdict says why."""
    values = [accuracy - CHANCE for accuracy in found["by_seed"]["accuracy"]]
    measured, error = mean_interval(values) or (None, None)
    return Claim(
        id="notes.llm",
        source=RESULTS,
        claim=f"a language model's notes raise the accuracy above no notes ({found['model'] or 'no model'}, "
        f"{found['n_samples']} samples a seed)",
        measured=measured,
        error=error,
        n=len(values),
        verdict=against(error),
        what=found["why"],
        command=command,
    )  # fmt: skip


def title_of(found: dict[str, Any], without: str) -> str:
    """What the report is about, plainly; `without` is its title where no language model ran."""
    if not found["model"]:
        return without
    return (
        f"Deterministic note learner; {found['model']} in one row, on {found['n_samples']} samples of "
        f"{len(found['by_seed']['accuracy'])} seeds, not the document's 3200"
    )

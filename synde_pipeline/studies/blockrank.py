"""BlockRank against the embedder: whether the base's own attention ranks memory items better, and what it costs.

How the base is asked, the layer and the signal tokens are chosen on tasks of the split `gate`; reported are `report`
tasks on other places (`blockrank_questions`). Intervals are clustered by place, differences are paired by task.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.base_model import ARTEFACT, Base, folder_hash, load_folder, one_thread
from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.evaluation.stats import Estimate, estimate, paired_difference, resamples, verdict, wilson
from synde_pipeline.memory.blockrank import BlockRank
from synde_pipeline.memory.embed import Embedder, get_embedder
from synde_pipeline.page import render
from synde_pipeline.settings import EvaluationConfig, PromptConfig
from synde_pipeline.simulation.demo import EMBEDDED_BASE
from synde_pipeline.storage import Header
from synde_pipeline.studies.blockrank_questions import (
    METRICS,
    WORDINGS,
    Question,
    Scores,
    Size,
    Values,
    Wording,
    as_found,
    best_recall3,
    bm25,
    by_chance,
    embedder_per_title,
    measure,
    questions,
)
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against

DECIDES = "recall3"
"""Agents are shown three items."""
CHOSEN, PAPERS, ICR = "BlockRank, chosen", "BlockRank, task alone", "ICR, task alone"
_CONFIG = EvaluationConfig()
_N_TIMED = 30


def study(run: StudyRun) -> Sequence[Claim]:
    """Choose, compare, clock, judge; writes `report.json` and `report.html`."""
    seeds, size = ((1,), Size(24)) if run.is_quick else ((1, 2, 3), Size(192))
    with one_thread():
        report = compare(seeds, size)
    report["switch_on"] = is_worth_it(report)
    claims = claims_of(report, run.command)
    report["claims"] = [claim.model_dump(mode="json") for claim in claims]
    page = render("studies/blockrank.html.j2", report=report, metrics=METRICS, picture=_picture(report))
    (run.folder / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    (run.folder / "report.html").write_text(page, "utf-8")
    return claims


def compare(seeds: Sequence[int], size: Size, base_folder: Path = EMBEDDED_BASE) -> dict[str, Any]:
    """All numbers of the study.

    Args:
        seeds: of the worlds; how to ask is chosen on the first one's.
        size: of each.
        base_folder: of the base whose attention is read.
    """
    header = Header(artefact=ARTEFACT, key="", content_hash=folder_hash(base_folder))
    base, embedder = load_folder(base_folder, header), get_embedder("minilm")
    tried = _tried(base, questions(size, seeds[0], "gate", embedder))
    best = max(tried, key=lambda row: row[DECIDES])
    chosen = BlockRank(base, PromptConfig(), **{name: best[name] for name in ("layer", "per_title", "n_signal")})
    alone = BlockRank(base, PromptConfig(), per_title=False)
    rankers: dict[str, Scores] = {
        "chance": by_chance,
        "embedder": as_found,
        "embedder, per title": embedder_per_title(embedder),
        "words (BM25)": bm25,
        CHOSEN: chosen.scores,
        PAPERS: alone.scores,
        "ICR, per title": chosen.icr_scores if chosen.per_title else BlockRank(base, PromptConfig()).icr_scores,
        ICR: alone.icr_scores,
    }
    asked = {
        wording: [one for seed in seeds for one in questions(size, seed, "report", embedder, wording)]
        for wording in WORDINGS
    }
    plain = asked["as asked"]
    sections = {}
    for wording, rows in asked.items():
        found = {name: measure(rows, scores) for name, scores in rankers.items()}
        sections[wording] = {"best_recall3": best_recall3(rows), "rankers": _compared(found, rows)}
    return {
        "base": base.hash,
        "embedder": embedder.name,
        "seeds": list(seeds),
        "size": asdict(size),
        "n_tasks": len(plain),
        "n_places": len({one.place for one in plain}),
        "development": tried,
        "chosen": best,
        "sections": sections,
        "cpu_ms": _cpu_ms(base, chosen, embedder, plain[:: max(1, len(plain) // _N_TIMED)][:_N_TIMED]),
    }


def _tried(base: Base, asked: Sequence[Question]) -> list[dict[str, Any]]:
    """Every way to ask the base, on the tasks for choosing."""
    tried = []
    for per_title, layer, n_signal in product((False, True), range(base.model.config.num_hidden_layers), (1, 2, 99)):
        model = BlockRank(base, PromptConfig(), layer=layer, per_title=per_title, n_signal=n_signal)
        means = {name: float(values.mean()) for name, values in measure(asked, model.scores).items()}
        tried.append({"per_title": per_title, "layer": layer, "n_signal": n_signal, **means})
    return tried


# -- uncertainty ---------------------------------------------------------------------------------------------------


def _compared(found: dict[str, Values], asked: Sequence[Question]) -> dict[str, Any]:
    """Ranker -> each metric with its interval, and its paired difference to the embedder and to chance."""
    clusters: dict[str, list[int]] = {}
    for k, one in enumerate(asked):
        clusters.setdefault(one.place, []).append(k)
    rows = list(clusters.values())
    return {
        name: {
            metric: {
                **asdict(_estimate(values[metric], rows)),
                "difference": _difference(values[metric], found["embedder"][metric], rows),
                "over_chance": _difference(values[metric], found["chance"][metric], rows),
            }
            for metric in METRICS
        }
        for name, values in found.items()
    }


def _sums(values: NDArray[np.float64], rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    return np.array([values[row].sum() for row in rows]), np.array([float(len(row)) for row in rows])


def _estimate(values: NDArray[np.float64], rows: Sequence[Sequence[int]]) -> Estimate:
    n = len(rows)
    if values.min() == values.max() and values[0] in (0, 1):  # nothing varies, so nothing can be resampled
        return Estimate(float(values[0]), 0.0, *wilson(n if values[0] else 0, n), n)
    return estimate(*_sums(values, rows), resamples(n, _CONFIG), _CONFIG.confidence)


def _difference(
    values: NDArray[np.float64], reference: NDArray[np.float64], rows: Sequence[Sequence[int]]
) -> dict[str, Any]:
    draws = resamples(len(rows), _CONFIG)
    found = paired_difference(_sums(values, rows), _sums(reference, rows), draws, _CONFIG.confidence)
    return {**asdict(found), "verdict": verdict(found, lower_is_better=False)}


# -- cost ----------------------------------------------------------------------------------------------------------


def _cpu_ms(base: Base, model: BlockRank, embedder: Embedder, asked: Sequence[Question]) -> dict[str, float]:
    """Median CPU milliseconds of one question."""

    def fresh(one: Question) -> None:
        made = BlockRank(base, PromptConfig(), layer=model.layer, per_title=model.per_title, n_signal=model.n_signal)
        made.scores(one.text, one.items)

    ways: dict[str, Callable[[Question], Any]] = {
        "BlockRank, items kept": lambda one: model.scores(one.text, one.items),
        "BlockRank, items read anew": fresh,
        "embedder, the question": lambda one: embedder.embed([one.text]),
    }
    for one in asked:
        model.scores(one.text, one.items)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for one in asked:
        for name, act in ways.items():
            started = time.process_time()
            act(one)
            found[name].append(1000 * (time.process_time() - started))
    return {name: float(np.median(times)) for name, times in found.items()}


# -- what it comes to ----------------------------------------------------------------------------------------------


def is_worth_it(report: dict[str, Any]) -> bool:
    """Whether reranking pays: in every wording the interval of the paired difference lies above zero."""
    return all(row["rankers"][CHOSEN][DECIDES]["difference"]["low"] > 0 for row in report["sections"].values())


def claims_of(report: dict[str, Any], command: str) -> list[Claim]:
    """What the numbers say; `measured` is the gain in recall at 3, paired by task."""
    said: list[tuple[str, Wording, str, str, str, str]] = [
        ("lookup", "as asked", CHOSEN, "difference", "ours",
         "Attention where the base looks facts up ranks better than the embedder"),
        ("reworded", "place first", CHOSEN, "difference", "ours",
         "The same when a task names its place first"),
        ("correlates", "as asked", PAPERS, "over_chance", "synde.txt 4.3",
         "Mid-layer attention of the task correlates with relevance: it ranks better than chance"),
        ("task", "as asked", PAPERS, "difference", "ours",
         "Mid-layer attention of the task ranks better than the embedder"),
        ("icr", "as asked", ICR, "difference", "arXiv 2410.02642",
         "Attention of all layers ranks better than the embedder"),
    ]  # fmt: skip
    claims = []
    for id, wording, name, reference, source, text in said:
        found = report["sections"][wording]["rankers"][name][DECIDES][reference]
        error = found["low"], found["high"]
        claim = Claim(
            id=f"blockrank.{id}", source=source, claim=text, measured=found["value"], error=error,
            n=report["n_places"], verdict=against(error), command=command,
        )  # fmt: skip
        claims.append(claim)
    return claims


def _picture(report: dict[str, Any]) -> str:
    drawn, axes = figure(7, 3.4)
    names = list(report["sections"][WORDINGS[0]]["rankers"])
    for wording, shift, colour in zip(
        WORDINGS, (-0.15, 0.15), (ARM_COLOURS["context"], ARM_COLOURS["weights"]), strict=True
    ):
        found = [report["sections"][wording]["rankers"][name][DECIDES] for name in names]
        values = np.array([[row["value"], row["value"] - row["low"], row["high"] - row["value"]] for row in found]).T
        places = np.arange(len(names)) + shift
        axes.errorbar(values[0], places, xerr=values[1:].clip(min=0), fmt="o", capsize=3, color=colour, label=wording)
    axes.set_yticks(range(len(names)), names)
    axes.legend(fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(f"recall at 3, 95 % interval, {report['n_tasks']} tasks on {report['n_places']} places", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    return svg(drawn)

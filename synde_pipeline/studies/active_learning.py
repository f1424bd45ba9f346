"""Which runs teach most at an equal budget: random ones, failures, novel ones, disagreement, or large gradients.

A small share of the logs is chosen in each way, one adapter a domain is trained on it at equal steps, and the agent
acts by its weights. Scores use nothing but the logs, the memory that had been there, and the untrained base.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from synde_pipeline.base_model import mlp_targets, one_thread
from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.records import Trajectory
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.learning import days, seeds, training
from synde_pipeline.studies.paired import Arms
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.relogged import Relogged, adapters_from, relog, train_runs
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.ways import Way, acted, gained, levels, tried
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.shards import ShardRow

BUDGET = 0.15
"""Share of the runs that may be learned from."""
RANDOM = "random"
Choose = Callable[[Laboratory, Sequence[Trajectory], Relogged, int], list[Trajectory]]


def at_random(_: Laboratory, runs: Sequence[Trajectory], __: Relogged, n: int) -> list[Trajectory]:
    """By a hash of the ids."""
    return sorted(runs, key=_chance)[:n]


def failures(_: Laboratory, runs: Sequence[Trajectory], __: Relogged, n: int) -> list[Trajectory]:
    """Failed runs first, each kind by chance."""
    return sorted(runs, key=lambda run: (run.outcome != "failure", _chance(run)))[:n]


def novelty(laboratory: Laboratory, runs: Sequence[Trajectory], _: Relogged, n: int) -> list[Trajectory]:
    """Each next run's task is the one farthest from all that were chosen (greedy k-centre, Sener and Savarese 2018)."""
    ordered = sorted(runs, key=_chance)
    embedder = get_embedder(laboratory.lab.settings.memory.embedder)
    chosen = farthest_first(embedder.embed([run.task for run in ordered]), n)
    return [ordered[k] for k in chosen]


def farthest_first(vectors: Any, n: int) -> list[int]:
    """Rows of unit vectors (rows, dim), from the first on, each farthest from the nearest chosen one."""
    chosen = [0]
    nearest = np.asarray(vectors @ vectors[0])
    while len(chosen) < min(n, len(vectors)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def disagreement(laboratory: Laboratory, runs: Sequence[Trajectory], learned: Relogged, n: int) -> list[Trajectory]:
    """Where the logged actions are likelier with the memory of the day before than without it: what weights lack."""
    model, encoder = laboratory.lab.base.model, laboratory.lab.encoder

    def score(run: Trajectory) -> float:
        shown = learned.memory.recall_before(run)
        without, with_ = (
            _nll(model, encoder.windows(run.domain, run.task, items, run.steps)) for items in ([], shown)
        )  # fmt: skip
        return without - with_ if shown else 0.0

    return _largest(runs, score, n)


def gradients(laboratory: Laboratory, runs: Sequence[Trajectory], learned: Relogged, n: int) -> list[Trajectory]:
    """Largest norm of the gradient that a run's sequences have at the adapters' places (EGL, Settles 2008)."""
    model = laboratory.lab.base.model
    return _largest(runs, lambda run: gradient_norm(model, learned.rows.get(run.trace_uid, [])), n)


WAYS: dict[str, Choose] = {
    RANDOM: at_random,
    "failures": failures,
    "novelty": novelty,
    "disagreement": disagreement,
    "gradient norm": gradients,
}


def gradient_norm(model: Any, rows: Sequence[ShardRow]) -> float:
    """Norm of the gradient of the weighted mean NLL of sequences by the matrices that adapters would change."""
    import torch

    if not rows:
        return 0.0
    modules = dict(model.named_modules())
    weights = [modules[name].weight for name in mlp_targets(model)]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        total: Any = 0.0
        for row in rows:
            ids = torch.tensor([row["input_ids"]])
            worth = torch.tensor(row["weights"])[1:] * ~torch.tensor(row["avoid"])[1:]
            log_p = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            total = total - (log_p * worth).sum() / worth.sum().clamp_min(1e-9) / len(rows)
        found = torch.autograd.grad(total, weights)
        return float(torch.stack([grad.pow(2).sum() for grad in found]).sum().sqrt())
    finally:
        for weight in weights:
            weight.requires_grad_(False)


def _nll(model: Any, windows: Any) -> float:
    """Nats per action token."""
    import torch

    total, count = 0.0, 0
    for window in windows:
        ids = torch.tensor([window.ids])
        with torch.inference_mode():
            log_p = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        for span in window.targets:
            start, end = span.action
            total -= float(log_p[start - 1 : end - 1].sum())
            count += end - start
    return total / max(count, 1)


def _largest(runs: Sequence[Trajectory], score: Callable[[Trajectory], float], n: int) -> list[Trajectory]:
    scores = {run.trace_uid: score(run) for run in runs}
    return sorted(runs, key=lambda run: (-scores[run.trace_uid], _chance(run)))[:n]


def _chance(run: Trajectory) -> str:
    return hashlib.sha256(f"active:{run.trace_uid}".encode()).hexdigest()


def study(run: StudyRun) -> Sequence[Claim]:
    """Choose, learn, act."""
    config = training(run)

    def way(name: str) -> Way:
        def learn(mine: Laboratory) -> Arms:
            learned = relog(mine, chosen(run, mine, name), config)
            return acted(mine, {"weights": (mine.tasks, None)}, adapters_from(mine, learned, config))

        return learn

    found = tried(run, {name: way(name) for name in WAYS})
    first, _ = lived(run, seeds(run)[0], days(run))
    rows = [row | _about(chosen(run, first, row["chosen by"])) for row in levels(found, "chosen by")]
    text = f"Success by weights after {BUDGET:.0%} of the runs; what was chosen is the first seed's."
    run.show("Ways to choose", text, rows=rows)
    claims = []
    for name in [name for name in WAYS if name != RANDOM]:
        measured = gained(found, name, RANDOM, "weights").above(0.0, "success by weights, minus random choice")
        text = f"Choosing runs by {name} teaches more than chance"
        claims.append(run.claim(name.replace(" ", "_"), "synde.txt 12.3", text, **measured))
    return claims


def chosen(run: StudyRun, mine: Laboratory, name: str) -> list[Trajectory]:
    """The runs that a way chooses in a laboratory; which ones is kept as a part."""
    runs = {one.trace_uid: one for one in train_runs(mine)}

    def choose() -> list[str]:
        every = list(runs.values())
        best = WAYS[name](mine, every, relog(mine, every, training(run)), round(BUDGET * len(every)))
        return [one.trace_uid for one in best]

    with one_thread():
        return [runs[uid] for uid in run.part({"seed": mine.config.seed, "preset": run.preset, "chosen": name}, choose)]


def _about(runs: Sequence[Trajectory]) -> dict[str, int]:
    failed = sum(run.outcome == "failure" for run in runs)
    return {"runs": len(runs), "places": len({run.scope for run in runs}), "failures": failed}

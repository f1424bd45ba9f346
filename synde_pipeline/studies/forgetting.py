"""Adapters of three domains one on top of the other: what is left of the first ones, and of the base.

    python -m synde_pipeline.studies.forgetting data/demo/seed-1 data/demo/seed-2

Each folder is a home of `synde demo`; nothing in it is changed. Web, code and math are learned in this order from all
that their latest cycles hold, each adapter merged before the next, with equal steps and batches. Measured on `report`
tasks on known places, without memory and with three items; on new places with every fact in memory (the probe of
general skill); and as KL to the base on the base's own data. Strengths were chosen on seed 7.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.base_model import load, mlp_targets, one_thread
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.settings import load as load_settings
from synde_pipeline.simulation.acting import success_of, sums_of
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.lab import Lab, Timed
from synde_pipeline.simulation.loop import DAYS
from synde_pipeline.simulation.tasks import date_of, day_number, held_out_tasks, new_places, places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.base_replay import with_base
from synde_pipeline.training.cycles import cycles
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.null_space import Moments, Projection, leak_penalty, merge, moments_of
from synde_pipeline.training.probe import kl_to_base, plain
from synde_pipeline.training.regularize import Fisher, accumulated, ewc, fisher_of, l2_penalty
from synde_pipeline.training.replay import draw_old
from synde_pipeline.training.shards import ShardRow, build_shard
from synde_pipeline.training.train import TrainingRun, fit

ORDER = ("web", "code", "math")
N_TASKS = 240
N_NEW_PLACES = 24
N_PROBE_TEXTS = 200
STEPS = 100
"""Of each adapter."""
N_MEASURED = 96
"""Sequences of a domain, evenly over all of them, from which moments and Fisher are taken."""
SHARED = TrainingConfig(
    **{**PRESETS["world"].model_dump(), "scopes_per_adapter": 0, "anchors": 0.0, "max_steps": STEPS}
)

Guard = Literal["none", "kfac", "diagonal", "l2", "null space", "leak"]


@dataclass(frozen=True)
class Method:
    """One way to keep what was learned."""

    name: str
    guard: Guard = "none"
    strength: float = 0.0
    old: float = 0.0
    """Share of old logs in training."""
    base: float = 0.0
    """Share of the base's own data in training."""


METHODS = (
    Method("nothing"),
    Method("replay 20 %", old=0.2),
    Method("replay 60 %", old=0.6),
    Method("base replay 25 %", base=0.25),
    Method("EWC, K-FAC", "kfac", 1e-2),
    Method("EWC, diagonal", "diagonal", 1e-2),
    Method("L2 on delta W", "l2", 1e-3),
    Method("null space, p = .99", "null space"),
    Method("leak penalty", "leak", 1e-2),
    Method("replay 20 % and K-FAC", "kfac", 1e-2, old=0.2),
    Method("replay 60 % and K-FAC", "kfac", 1e-2, old=0.6),
)


@dataclass
class Past:
    """What earlier domains have left behind."""

    rows: dict[str, list[ShardRow]] = field(default_factory=dict)
    moments: Moments | None = None
    fisher: Fisher | None = None

    def learn(self, model: Any, domain: str, rows: list[ShardRow], method: Method) -> None:
        """Measure under the merged weights what the method needs of a domain that was just learned."""
        self.rows[domain] = rows
        rows = rows[:: max(1, len(rows) // N_MEASURED)][:N_MEASURED]
        if method.guard in ("null space", "leak"):
            new = moments_of(model, rows, pad_id=0)
            self.moments = merge([self.moments, new]) if self.moments else new
        elif method.guard in ("kfac", "diagonal"):
            found = fisher_of(model, rows, method.guard, pad_id=0)
            self.fisher = accumulated(self.fisher, found) if self.fisher else found

    def guarded(self, model: Any, method: Method) -> TrainingRun:
        """The method's penalty or projection; nothing for the first domain."""
        if not self.rows:
            return TrainingRun()
        if self.fisher:
            return TrainingRun(penalty=ewc(self.fisher, method.strength))
        if self.moments and method.guard == "leak":
            return TrainingRun(penalty=leak_penalty(self.moments, method.strength))
        if self.moments:
            return TrainingRun(after_step=Projection.of(self.moments).after_step)
        if method.guard == "l2":
            return TrainingRun(penalty=l2_penalty(mlp_targets(model), method.strength))
        return TrainingRun()

    def drawn(self, new: Sequence[ShardRow], share: float, seed: str) -> list[ShardRow]:
        """Sequences of old trajectories, so many that they are a share of old and new."""
        by_uid: dict[str, list[ShardRow]] = {}
        for rows in self.rows.values():
            for row in rows:
                by_uid.setdefault(row["trace_uid"], []).append(row)
        owner = {row["trace_uid"]: domain for domain, rows in self.rows.items() for row in rows}
        n_new = len({row["trace_uid"] for row in new})
        uids = draw_old(owner, n_new, TrainingConfig(old_logs=share), seed)
        return [row for uid in uids for row in by_uid[uid]]


@dataclass
class Bench:
    """One laboratory: its logs by domain, and the tasks that every method is tried on."""

    lab: Lab
    rows: dict[str, list[ShardRow]]
    tasks: dict[str, list[Task]]
    shown: dict[str, list[tuple[MemoryItem, ...]]]
    new: list[Task]
    told: list[tuple[MemoryItem, ...]]
    data: CorpusData
    first: dict[tuple[int, float], AdapterWeights] = field(default_factory=dict)
    """(rank, base share) -> the first domain's adapter: no guard has anything to keep yet."""

    @classmethod
    def open(cls, home: Path) -> "Bench":
        """Load a home of `synde demo`."""
        os.environ["SYNDE_HOME"] = str(home)
        settings = load_settings()
        config = settings.simulation
        assert config is not None  # noqa: S101 - a home of the demo
        warehouse = Warehouse(settings.warehouse)
        lab = Lab(warehouse, settings.model_copy(update={"training": SHARED}))
        day = max(day_number(date.fromisoformat(key)) for key in warehouse.keys(DAYS))
        latest = {cycle.domain: cycle for cycle in cycles(warehouse)}
        rows, tasks, shown = {}, {}, {}
        for domain in ORDER:
            rows[domain] = build_shard(warehouse, latest[domain], lab.memory, lab.encoder, lab.settings).rows
            known = [place for place in places(config, day) if place.world.domain == domain]
            tasks[domain] = held_out_tasks(known, "report", N_TASKS, day + 1)
            shown[domain] = lab.recall(tasks[domain], date_of(day), 3)
        new = held_out_tasks(new_places(config, N_NEW_PLACES), "report", N_TASKS, day + 1)
        told = [hints(task, GATES[1], config.seed) for task in new]
        return cls(lab, rows, tasks, shown, new, told, CorpusData(lab.base.tokenizer, lab.encoder))

    def learned(self, method: Method, rank: int, after: Callable[[str, Any], None] = lambda *_: None) -> Any:
        """The model after all domains; `after(domain, model)` is called behind each."""
        config = SHARED.model_copy(update={"rank": rank})
        model, past = load(self.lab.warehouse).model, Past()
        for domain in ORDER:
            key = (rank, method.base)
            if past.rows or key not in self.first:
                adapter = self._trained(model, domain, method, past, config)
                if not past.rows:
                    self.first[key] = adapter
            else:
                adapter = self.first[key]
            add_adapters(model, [(adapter, 1.0)])
            past.learn(model, domain, self.rows[domain], method)
            after(domain, model)
        return model

    def _trained(self, model: Any, domain: str, method: Method, past: Past, config: TrainingConfig) -> AdapterWeights:
        new = self.rows[domain]
        rows = with_base([*new, *past.drawn(new, method.old, domain)], self.data, method.base, domain)
        run = past.guarded(model, method)
        model.requires_grad_(False)
        bank = AdapterBank.fresh(model, 1, config)
        if run.after_step:
            run.after_step(bank)
        try:
            fit(bank, model, [rows], config, run)
            return bank.weights(0)
        finally:
            bank.remove()

    def success(
        self, model: Any, tasks: Sequence[Task], shown: Sequence[tuple[MemoryItem, ...]] = ()
    ) -> dict[str, Any]:
        """Success on some tasks, clustered by place."""
        agent = Agent(model, self.lab.base.tokenizer, self.lab.encoder, seed=17)
        memory = shown or [()] * len(tasks)
        runs = agent.act([Assignment(task, items) for task, items in zip(tasks, memory, strict=True)])
        return success_of(sums_of(Timed(runs, 0.0)), self.lab.settings.evaluation)

    def measured(self, model: Any) -> dict[str, Any]:
        """Every cell of one model."""
        found = {f"{domain}, 0 items": self.success(model, self.tasks[domain]) for domain in ORDER}
        found |= {f"{domain}, 3 items": self.success(model, self.tasks[domain], self.shown[domain]) for domain in ORDER}
        found["new places, all facts"] = self.success(model, self.new, self.told)
        probe = self.data.rows(N_PROBE_TEXTS, "probe")
        kl, se = kl_to_base(plain(model), plain(self.lab.base.model), probe, pad_id=0)
        return {**found, "KL to base": {"nats": round(kl, 5), "se": round(se, 5), "n": N_PROBE_TEXTS}}


def study(
    bench: Bench, methods: Sequence[Method] = METHODS, ranks: Sequence[int] = (4, 1)
) -> dict[str, dict[str, Any]]:
    """All rows of one laboratory, by name."""
    found = {"base": bench.measured(bench.lab.base.model)}
    for rank in ranks:
        for method in methods:
            right_after: dict[str, Any] = {}

            def after(domain: str, model: Any, row: dict[str, Any] = right_after) -> None:
                if domain == ORDER[0]:
                    row[f"{domain} right after it"] = bench.success(model, bench.tasks[domain])

            model = bench.learned(method, rank, after)
            found[f"r{rank}, {method.name}"] = {**right_after, **bench.measured(model)}
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """One line a row: value and standard error of each cell."""
    columns = list(rows[list(rows)[-1]])
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, cells in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(cells.get(column)) for column in columns) + " |")
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    value = found.get("success", found.get("nats"))
    return f"{value:.3f} ({found['se']:.3f})"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("expected: homes of `synde demo`")
    with one_thread():
        results = {home: study(Bench.open(Path(home))) for home in sys.argv[1:]}
    sys.stdout.write(json.dumps(results) + "\n")
    for home, rows_ in results.items():
        sys.stdout.write(f"\n{home}\n{table(rows_)}\n")

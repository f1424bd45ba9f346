"""Errors of the router in lived laboratories, and what they cost: by scope, by text alone, and on places never seen.

    python -m synde_pipeline.studies.routing [HOME...] [--seeds N,N...] [--texts FILE]

Each home is one of `synde demo`; nothing in it is changed. All tasks are of the split `report`, never handed out by any
day. A text that is routed holds the name of its place, as a user's would. `--seeds` counts routes alone, with the tasks
that five days would hand out and no adapter trained. `--texts` takes WebArena's task file: each of its sites in turn is
left out, and half of the others' templates is routed by the other half.
"""

import json
import sys
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.base_model import one_thread
from synde_pipeline.evaluation.routing import Count, routing_errors
from synde_pipeline.models.bank import BankRow, champion_bank, router_of
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.keys import DomainKeys, Key, key_of, keys_of_groups
from synde_pipeline.models.route import Asked, Nearest, Place, Router
from synde_pipeline.records import MemoryItem, content_hash, split_of
from synde_pipeline.settings import EvaluationConfig, ModelsConfig, SimulationConfig
from synde_pipeline.settings import load as load_settings
from synde_pipeline.simulation.acting import success_of, sums_of
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.lab import asked_of, timed
from synde_pipeline.simulation.tasks import date_of, day_number, held_out_tasks, new_places, places, tasks_of_day
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.storage import read_json
from synde_pipeline.studies.worlds import N_TASKS, Laboratory
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.cycles import find_cycle
from synde_pipeline.training.daily import SHARDS

EMBEDDERS: tuple[Literal["minilm"], Literal["hashing"]] = ("minilm", "hashing")
N_NEW = 24
NEAREST = ModelsConfig(route="nearest", route_error=0.15)
"""What six places, as many as the demo has of the smaller domains, can promise."""


def keys_by(laboratory: Laboratory, rows: Sequence[BankRow], embedder: str) -> dict[int, tuple[str, Key]]:
    """The keys of a bank as another embedder would have made them."""
    warehouse = laboratory.lab.warehouse
    found = {}
    for index, row in enumerate(rows):
        table = read_json(warehouse.folder(ADAPTERS, row.cycle) / "bank.json")
        (scopes,) = (line["key"]["scopes"] for line in table if line["folder"] == row.folder)
        shard = warehouse.read_table(SHARDS, row.cycle).to_pylist()
        own = {row.folder: [line for line in shard if line["scope"] in scopes]}
        key = keys_of_groups(warehouse, find_cycle(warehouse, row.cycle), own, embedder)[row.folder]
        found[index] = row.domain, key.only(row.scopes)
    return found


@dataclass
class Actor:
    """Acts with the adapters of a laboratory; equal routes are acted once."""

    laboratory: Laboratory

    def __post_init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    def success(
        self, tasks: Sequence[Task], routes: Sequence[int], memory: Sequence[tuple[MemoryItem, ...]] | None
    ) -> dict[str, Any]:
        """Success of the agent whose tasks go to these adapters."""
        name = content_hash([[task.task_id for task in tasks], list(routes), memory is not None])
        if name not in self._known:
            self._known[name] = self._act(tasks, routes, memory or [()] * len(tasks))
        return self._known[name]

    def _act(
        self, tasks: Sequence[Task], routes: Sequence[int], memory: Sequence[tuple[MemoryItem, ...]]
    ) -> dict[str, Any]:
        lab = self.laboratory.lab
        bank = AdapterBank.of(lab.base.model, self.laboratory.adapters)
        try:
            agent = Agent(lab.base.model, lab.base.tokenizer, lab.encoder, seed=17, routed=bank.routed)
            given = [Assignment(*row) for row in zip(tasks, memory, routes, strict=True)]
            return success_of(sums_of(timed(agent.act, given, "routed")), lab.settings.evaluation)
        finally:
            bank.remove()


def study(home: Path) -> dict[str, dict[str, Any]]:
    """All conditions of one laboratory: counts of routing, and success by weights alone and with memory."""
    mine = Laboratory.open(load_settings(home))
    config = mine.lab.settings.simulation
    assert config is not None  # noqa: S101 - a home of the demo
    rows = champion_bank(mine.lab.warehouse, mine.lab.base.hash)
    by_scope = router_of(mine.lab.warehouse, rows)
    routers = {
        embedder: Router.of([row.places for row in rows], keys_by(mine, rows, embedder), NEAREST)
        for embedder in EMBEDDERS
    }
    day = day_number(mine.last_day) + 1
    fresh = held_out_tasks(new_places(config, N_NEW), "report", N_TASKS, day)
    actor, found = Actor(mine), {}
    for name, tasks in (("seen places", mine.tasks), ("new places", fresh)):
        told = [asked_of(task) for task in tasks]
        hidden = [task._replace(scope="") for task in told]
        truths = [(task.domain, task.scope) for task in told]
        memory = mine.lab.recall(tasks, date_of(day - 1))
        ways = [("by scope", by_scope, told), ("by scope, nearest on", routers["minilm"], told)]
        ways += [(f"by text, {embedder}", router, hidden) for embedder, router in routers.items()]
        ways += [("no router", Router({}), told)]
        for way, router, asked in ways:
            routes = [route.index for route in router.routes(asked)]
            counts = routing_errors(Router(by_scope.table, router.nearest), asked, truths, mine.lab.settings.evaluation)
            found[f"{name}, {way}"] = {
                **({} if way == "no router" else {kind: asdict(count) for kind, count in counts.items()}),
                "weights": actor.success(tasks, routes, None),
                "dual": actor.success(tasks, routes, memory),
            }
    for embedder, router in routers.items():
        for domain, nearest in router.nearest.items():
            found[f"calibration, {embedder}, {domain}"] = nearest.keys.evidence().rates(NEAREST.route_error)
    return found


# -- texts alone ----------------------------------------------------------------------------------------------------


def unlived(seed: int) -> dict[str, dict[str, Any]]:
    """Routes by text on 24 sites of a seed: keys of the tasks that five days hand out, four sites an adapter.

    At the default share of errors; the repositories and notebooks (12 each) are too few for it.
    """
    config = SimulationConfig(seed=seed, places=48, episodes_per_day=192)
    texts: dict[Place, set[str]] = defaultdict(set)
    for task in (task for day in range(1, 6) for task in tasks_of_day(config, day)):
        if split_of(task.task_id) == "train":
            texts[task.place.world.domain, task.place.scope].add(task.text)
    groups: dict[tuple[str, int], list[Place]] = defaultdict(list)
    n_seen: Counter[str] = Counter()
    for place in sorted(texts):
        groups[place[0], n_seen[place[0]] // 4].append(place)
        n_seen[place[0]] += 1
    where = held_out_tasks(places(config, 5), "report", 2 * N_TASKS, 6)
    fresh = held_out_tasks(new_places(config, 2 * N_NEW), "report", 2 * N_TASKS, 6)
    asked = [asked_of(task) for task in (*where, *fresh) if task.place.world.domain == "web"]
    found = {}
    for embedder in EMBEDDERS:
        keys = {
            k: (domain, key_of({place[1]: texts[place] for place in held}, embedder))
            for k, ((domain, _), held) in enumerate(groups.items())
        }
        router = Router.of(groups.values(), keys, ModelsConfig())
        hidden = [task._replace(scope="") for task in asked]
        counts = routing_errors(router, hidden, [(task.domain, task.scope) for task in asked], EvaluationConfig())
        found[f"seed {seed}, by text, {embedder}"] = {kind: asdict(count) for kind, count in counts.items()}
    return found


# -- texts of other people's tasks ----------------------------------------------------------------------------------


def text_study(file: Path, config: EvaluationConfig | None = None) -> dict[str, dict[str, Any]]:
    """WebArena's intents: does a text say on which site it is to be done? Each site is once the one nobody learned."""
    tasks = [task for task in json.loads(file.read_text("utf-8")) if len(task["sites"]) == 1]
    # Halves by template: variants of a text must not stand on both sides.
    learned, asked = [], []
    for task in tasks:
        half = int(content_hash([task["intent_template_id"]])[:8], 16) % 2
        (asked if half else learned).append((task["sites"][0], task["intent"]))
    found = {}
    for embedder in EMBEDDERS:
        for left_out in sorted({site for site, _ in learned}):
            router = _router(((site, text) for site, text in learned if site != left_out), embedder)
            truths: list[Place] = [("web", site) for site, _ in asked]
            told = [Asked("web", "", text) for _, text in asked]
            counts = routing_errors(router, told, truths, config or EvaluationConfig())
            found[f"WebArena without {left_out}, {embedder}"] = {k: asdict(count) for k, count in counts.items()}
    return found


def _router(learned: Iterable[tuple[str, str]], embedder: str) -> Router:
    """One adapter a site, routed by text at a share of errors that four sites can promise."""
    texts: dict[str, set[str]] = defaultdict(set)
    for site, text in learned:
        texts[site].add(text)
    keys = DomainKeys.of({k: key_of({site: found}, embedder) for k, (site, found) in enumerate(texts.items())})
    threshold = keys.evidence().threshold(0.2) if keys else None
    nearest = {"web": Nearest(keys, threshold)} if keys and threshold is not None else {}
    return Router({("web", site): k for k, site in enumerate(texts)}, nearest)


def table(results: Sequence[dict[str, dict[str, Any]]]) -> str:
    """One line a row, one block a laboratory."""
    return "\n".join(
        f"{name:<40} {'  '.join(f'{key} {_cell(value)}' for key, value in row.items())}"
        for found in results
        for name, row in found.items()
    )


def _cell(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    if "success" in value:
        return f"{value['success']:.3f} ({value['se']:.3f})"
    count = Count(**value)
    return "-" if count.share is None else f"{count.n}/{count.n_of} [{count.low:.3f}, {count.high:.3f}]"


def _main(words: Sequence[str]) -> list[dict[str, dict[str, Any]]]:
    parser = ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("home", nargs="*", type=Path)
    parser.add_argument("--seeds", default="", help="separated by commas")
    parser.add_argument("--texts", type=Path, help="WebArena's task file")
    given = parser.parse_args(words)
    found = [study(home) for home in given.home]
    found += [unlived(int(seed)) for seed in given.seeds.split(",") if seed]
    return found + ([text_study(given.texts)] if given.texts else [])


if __name__ == "__main__":
    with one_thread():
        everything = _main(sys.argv[1:])
    sys.stdout.write(json.dumps(everything) + "\n" + table(everything) + "\n")

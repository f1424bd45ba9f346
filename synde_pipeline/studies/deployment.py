"""The deployment loop (8.4): an agent that knows OpenAI's client and `/feedback` alone, over some days.

Each day a real server with the champion and the memory of the evening before answers the agent over HTTP; what it
answered lands, and the pipeline learns from it at night. Success is the agent's own on the day's new tasks; beside it
the same tasks with the base alone, tried in the laboratory with chances of the same kind.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as midnight
from functools import partial
from typing import Any

from synde_pipeline.base_model import one_thread, pin_given
from synde_pipeline.evaluation.plots import figure, svg
from synde_pipeline.lease import lease
from synde_pipeline.settings import BufferConfig, MemoryConfig, Settings, SimulationConfig
from synde_pipeline.simulation.acting import PlaceSums, sums_of
from synde_pipeline.simulation.client import Deployed, deploy
from synde_pipeline.simulation.demo import defaults, laboratory
from synde_pipeline.simulation.lab import Lab, timed
from synde_pipeline.simulation.loop import Loop
from synde_pipeline.simulation.tasks import date_of, tasks_of_day
from synde_pipeline.studies.code import code_hash
from synde_pipeline.studies.labs import FOLDER, cache, sizes
from synde_pipeline.studies.learning import days, seeds
from synde_pipeline.studies.paired import gain
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun

PREFIX = "served-"
"""Of the landing files that a server writes."""


def study(run: StudyRun) -> Sequence[Claim]:
    """Deploy, compare the last day with the first and with the base."""
    lives = {seed: run.part({"seed": seed}, partial(_lived, run, seed)) for seed in seeds(run)}
    rows = [
        {"seed": seed, **{name: value for name, value in day.items() if name not in ("agent", "base")}}
        for seed, lived in lives.items()
        for day in lived
    ]
    text = "Success of the served agent on each day's new tasks, and of the base alone on the same tasks."
    run.show("Days behind the server", text, rows=rows, plots=[_plot(lives)])
    run.numbers["days"] = rows
    first, last = ([_places(lived[k]["agent"]) for lived in lives.values()] for k in (0, -1))
    base = [_places(lived[-1]["base"]) for lived in lives.values()]
    return [
        run.claim(
            "improves",
            "synde.txt 8.4",
            "An agent behind the server gets better from its own traffic and feedback",
            **gain(last, first).above(0.0, f"success on day {days(run)} less day 1, through the OpenAI client"),
        ),
        run.claim(
            "base",
            "synde.txt 8.4",
            f"After {days(run)} days the served agent is better than the model that it began with",
            **gain(last, base).above(0.0, f"success on day {days(run)}: served agent less base, same tasks"),
        ),
    ]


def _lived(run: StudyRun, seed: int) -> list[dict[str, Any]]:
    settings = _settings(run, seed)
    loop = ServedLoop(settings, partial(run.run_days, settings))
    with lease(settings.home, "living"), one_thread():
        pin_given(loop.warehouse, settings)
        return [loop.deployed(number) for number in range(1, days(run) + 1)]


def _settings(run: StudyRun, seed: int) -> Settings:
    knobs = {"buffer": BufferConfig(threshold=60)} if run.is_quick else {}
    simulation = SimulationConfig(seed=seed, **sizes(run))
    chosen = defaults(seed)
    memory = chosen.memory.model_dump() | {"trust": {"served": 1.0}}
    changed = chosen.model_copy(
        update={"simulation": simulation, "memory": MemoryConfig.model_validate(memory), **knobs}
    )
    return laboratory(cache(run.settings.home / FOLDER, code_hash()) / "deployed", changed)


class ServedLoop(Loop):
    """A simulation whose agent acts through a server."""

    def deployed(self, number: int) -> dict[str, Any]:
        """Live one day and say how it went."""
        agent = self._serve(number)
        tasks = tasks_of_day(self.config, number)
        self.run([date_of(number)])
        lab = Lab(self.warehouse, self.settings)
        base = sums_of(timed(lab.act, tasks, seed=self.config.seed, label=f"base, day {number}"))
        n = len(agent)
        return {
            "day": number,
            "served": sum(one.is_success for one in agent) / n,
            "base": _rows(base),
            "base alone": sum(row.n_success for row in base) / n,
            "n": n,
            "layers": ", ".join(f"{k} {v}" for k, v in sorted(Counter(one.layers for one in agent).items())),
            "agent": _rows(_sums(agent)),
        }

    def _serve(self, number: int) -> list[Deployed]:
        """Let the agent work for a day; what an interrupted day left is thrown away."""
        landing = self.warehouse.path("landing", str(date_of(number)))
        for left in landing.glob(f"{PREFIX}*"):
            left.unlink()
        shutil.rmtree(self.settings.home / "serving", ignore_errors=True)
        tasks = tasks_of_day(self.config, number)
        names = [f"{self.config.seed}-{number:04d}-{k:04d}" for k in range(len(tasks))]
        with served(self.settings, _clock(number)) as url:
            return deploy(url, tasks, names, seed=self.config.seed)


@contextmanager
def served(settings: Settings, clock: Callable[[], datetime]) -> Iterator[str]:
    """A real server on a free port of the loopback for the time of a block; yields its URL."""
    from synde_pipeline.serving.running import app_of, server_of

    server = server_of(app_of(settings, clock=clock), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def _clock(number: int) -> Callable[[], datetime]:
    """A simulated day's time: its date, and as late as real time has gone on since its morning."""
    morning, began = datetime.combine(date_of(number), midnight(8), UTC), time.monotonic()
    return lambda: morning + timedelta(seconds=time.monotonic() - began)


def _sums(done: Sequence[Deployed]) -> list[PlaceSums]:
    places: dict[str, list[Deployed]] = {}
    for one in done:
        places.setdefault(one.task.place.scope, []).append(one)
    return [
        PlaceSums(scope, sum(one.is_success for one in mine), len(mine), sum(one.n_steps for one in mine), 0, 0.0)
        for scope, mine in sorted(places.items())
    ]


def _rows(sums: Sequence[PlaceSums]) -> list[list[Any]]:
    return [[row.scope, row.n_success, row.n_tasks, row.n_steps, 0, 0.0] for row in sums]


def _places(rows: Sequence[Sequence[Any]]) -> list[PlaceSums]:
    return [PlaceSums(*row) for row in rows]


def _plot(lives: dict[int, list[dict[str, Any]]]) -> str:
    fig, axes = figure(6, 3.2)
    for seed, lived in lives.items():
        numbers = [day["day"] for day in lived]
        axes.plot(numbers, [day["served"] for day in lived], marker="o", label=f"served, seed {seed}")
        axes.plot(numbers, [day["base alone"] for day in lived], linestyle=":", label=f"base, seed {seed}")
    axes.set_xlabel("day")
    axes.set_ylabel("success on the day's tasks")
    axes.set_ylim(0, 1)
    axes.legend()
    return svg(fig)

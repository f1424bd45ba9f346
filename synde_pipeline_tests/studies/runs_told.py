"""Runs of the worlds without a model: half of them try options in order and fail, half know the right ones."""

from datetime import UTC, datetime

from synde_pipeline.records import Step, Trajectory
from synde_pipeline.settings import SimulationConfig
from synde_pipeline.simulation.tasks import date_of, tasks_of_day
from synde_pipeline.simulation.worlds.base import ANSWER, Episode


def told_runs(n: int) -> list[Trajectory]:
    """Runs of the first day, in the order of their ids."""
    tasks = tasks_of_day(SimulationConfig(places=8, episodes_per_day=n), 1)
    return [_run(task, number) for number, task in enumerate(tasks)]


def _run(task, number):
    episode, steps = Episode(task), []
    state = episode.observation
    knows = number % 2 == 0
    for stage in task.stages:
        for option in [task.place.right_option(stage, 1)] if knows else stage.options:
            if episode.is_over:
                break
            reply = episode.act(stage.tool, option)
            steps.append(_step(len(steps), (state, stage.tool, option), reply))
            state = reply.result
            if reply.success:
                break
    if not episode.is_over:
        value = task.value if knows else "0.0"
        steps.append(_step(len(steps), (state, ANSWER, value), episode.act(ANSWER, value)))
    return Trajectory(
        trace_uid=f"sim:1-0001-{number:04d}", task_id=task.task_id, domain=task.place.world.domain, source="sim",
        day=date_of(1), started_at=datetime(2025, 1, 1, tzinfo=UTC), scope=task.place.scope, task=task.text,
        steps=tuple(steps), outcome="success" if episode.is_success else "failure", label_source="verifier",
    )  # fmt: skip


def _step(index, action, reply):
    state, tool, arguments = action
    return Step(
        index=index, state=state, reasoning="r", tool=tool, arguments=arguments, result=reply.result,
        success=reply.success,
    )  # fmt: skip

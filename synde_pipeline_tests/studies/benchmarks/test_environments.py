"""A user's package names an environment, and four arms of it are run by an endpoint that can read."""

import json
import re

import pytest

from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.llm import Llm
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.settings import LlmConfig, MemoryConfig, Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.studies.benchmarks.actors import LlmActor
from synde_pipeline.studies.benchmarks.environments import EnvironmentTask, environment_named
from synde_pipeline.studies.benchmarks.runner import DAY, Home, four_arms, play, recalled
from synde_pipeline.studies.benchmarks.scores import difference, success
from synde_pipeline_tests.llm_server import serving
from synde_pipeline_tests.studies.benchmarks import desk

MODULE = desk.__name__


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution on the path whose metadata names environments, as an installed package's does."""
    info = tmp_path / "site" / "lending_desk-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lending-desk\nVersion: 1.0\n")
    points = {"lending": "Desk", "half": "NoDesk", "foreign": "ForeignDesk"}
    lines = [f"{name} = {MODULE}:{value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[synde.environments]", *lines, ""]))
    monkeypatch.syspath_prepend(str(info.parent))


def reads(body) -> str:
    """The model behind the endpoint: it knows the branch from a lesson or from the error that it got."""
    said = [message["content"] for message in body["messages"] if message["role"] != "assistant"]
    arguments = desk.clerk("\n".join(said), results=len(said) - 2)
    return json.dumps({"reasoning": "as I learned", "tool": "renew", "arguments": arguments})


@pytest.fixture
def settings(home):
    with serving(reads) as server:
        llm = LlmConfig(base_url=server.url, model="reader", pause_s=0.001)
        yield Settings(home=home, llm=llm, memory=MemoryConfig(embedder="hashing"))


def llm_of(settings: Settings) -> Llm:
    return Llm(Warehouse(settings.warehouse), settings.llm)


def test_an_installed_environment_is_found_by_its_name(installed):
    environment = environment_named("lending")
    assert environment.domain == "desk"
    assert len(environment.tasks()) == 40


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "no environment is called 'nonsense'.*foreign, half, lending"),
        ("half", "NoDesk is no environment.*domain, outcome, reset, step, tasks, tools"),
        ("foreign", "lending:desk:0.*distinct ids"),
    ],
)
def test_what_is_no_environment_is_refused_with_what_is_wanted(installed, name, message):
    with pytest.raises(InputError, match=message):
        environment_named(name)


def test_memory_of_train_runs_solves_report_tasks_that_leave_no_second_try(settings):
    llm = llm_of(settings)
    arms = four_arms(desk.Desk(), LlmActor(llm, "reader"), None, Home(settings, llm))
    assert set(arms.runs) == {"none", "context"}
    none, context = arms.runs["none"], arms.runs["context"]
    assert {run.task.split for run in [*none, *context]} == {"report"}
    assert [run.is_success for run in none] == [run.task.budget == 2 for run in none]
    assert success(context)["success"] == 1.0
    assert all(len(run.turns) == 1 and run.shown for run in context)
    found = difference(context, none)
    assert found["gained"] == [run.task.task_id for run in none if run.task.budget == 1]
    assert found["harmed"] == []
    assert arms.n_items >= 1
    assert success(none)["tokens_in"] == pytest.approx(100 * success(none)["steps"], abs=1), "as the server counts"


def test_logs_are_those_of_train_tasks_and_a_repetition_costs_nothing_and_says_the_same(settings, tmp_path):
    def measured(home):
        llm = llm_of(settings)
        return four_arms(desk.Desk(), LlmActor(llm, "reader"), None, Home(home, llm), max_tasks=6), llm.usage

    placed = [settings.model_copy(update={"home": tmp_path / name}) for name in ("one", "two")]
    (first, paid), (second, free) = map(measured, placed)
    assert first.runs == second.runs
    assert paid.calls > 0
    assert (free.calls, free.cached) == (0, paid.calls + paid.cached)
    logs = [load_raw_logs(Warehouse(home.warehouse), DAY) for home in placed]
    assert logs[0] == logs[1]
    train = {run.task.task_id for run in first.everywhere if run.task.split == "train"}
    assert {log.task_id for log in logs[0]} == train
    assert {log.label_source for log in logs[0]} == {"verifier"}
    assert any(len(log.steps) == 2 and log.steps[0].success is False for log in logs[0])
    assert all(re.fullmatch("Tools:\n- renew: .*\n\nThe desk is open.", log.steps[0].state) for log in logs[0])


def test_a_model_that_cannot_answer_validly_has_failed_its_task_and_not_the_study(home):
    with serving(lambda _: "renew it, please") as server:
        llm = LlmConfig(base_url=server.url, model="babbles", pause_s=0.001)
        run = play(desk.Desk(), LlmActor(llm_of(Settings(home=home, llm=llm)), "babbles"), desk.Desk().tasks()[1])
    assert (run.outcome, [turn.tool for turn in run.turns]) == ("failure", ["invalid"])


def test_memory_that_learned_from_a_task_is_not_tried_on_it(settings):
    llm = llm_of(settings)
    arms = four_arms(desk.Desk(), LlmActor(llm, "reader"), None, Home(settings, llm), max_tasks=3)
    from synde_pipeline.memory.retrieve import Memory

    memory = Memory.load(Warehouse(settings.warehouse), settings.memory)
    learned = [run.task for run in arms.everywhere if run.task.split == "train"]
    assert len(learned) == 3
    with pytest.raises(LineageError, match="were learned from"):
        recalled(memory, learned, "desk")


def test_an_outcome_that_is_no_word_of_ours_is_an_error_of_the_environment(settings):
    class Odd(desk.Desk):
        def outcome(self):
            return "solved"

    with pytest.raises(ValueError, match="Odd said 'solved'"):
        play(Odd(), LlmActor(llm_of(settings), "reader"), desk.Desk().tasks()[0])


def test_groups_of_an_environment_are_split_as_a_whole():
    tasks = [EnvironmentTask(task_id=f"x:desk:{k}", text="t", group=f"g{k % 5}") for k in range(40)]
    assert len({(task.group, task.split) for task in tasks}) == 5

"""Who acts: the champion of the environment's domain, on its own tasks' adapters, and only for the time of a block."""

import pytest
import torch

from synde_pipeline.base_model import load
from synde_pipeline.errors import LineageError
from synde_pipeline.llm import Llm
from synde_pipeline.models.bank import champion_bank, load_bank
from synde_pipeline.models.registry import promote
from synde_pipeline.records import Outcome
from synde_pipeline.settings import BenchmarksConfig
from synde_pipeline.studies.benchmarks.environments import EnvironmentTask, Reply
from synde_pipeline.studies.benchmarks.models import actors_for
from synde_pipeline.studies.benchmarks.study import _acted
from synde_pipeline.studies.study import StudyRun
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.memory.test_curate import TRAIN
from synde_pipeline_tests.models.test_bank import IDS, SETTINGS, trained
from synde_pipeline_tests.models_for_tests import pin_tiny


class Shelf:
    """An environment of the library: nobody can do anything wrong in it."""

    domain = "library"
    tools = {"find": "find a book", "renew": "renew a loan"}  # noqa: RUF012 - never changed

    def __init__(self, names=tuple(f"s{k}" for k in range(30))) -> None:
        self.names = names

    def tasks(self):
        return [EnvironmentTask(task_id=f"test:library:{k}", text=f"find {k}", scope="site:a") for k in self.names]

    def reset(self, task, *, seed: int) -> str:
        return "the shelf"

    def step(self, tool: str, arguments: str) -> Reply:
        return Reply("", is_over=True)

    def outcome(self) -> Outcome:
        return "success"


@pytest.fixture
def settings(home, warehouse):
    pin_tiny(warehouse)
    cycle, model = trained(warehouse, DAY, "site:a", "site:b")
    promote(warehouse, cycle, model, "passed")
    return SETTINGS.model_copy(update={"home": home, "benchmarks": BenchmarksConfig(max_tasks=1)})


def test_the_champions_adapter_of_a_tasks_place_acts_and_leaves_with_the_block(settings, warehouse):
    base = load(warehouse)
    rows = champion_bank(warehouse, base.hash)
    with torch.inference_mode():
        plain = base.model(IDS).logits
        with load_bank(warehouse, base.model, rows).routed([("library", "site:a")]):
            expected = base.model(IDS).logits
    assert not torch.equal(plain, expected)
    here, nowhere = (EnvironmentTask(task_id="x:library:1", text="t", scope=scope) for scope in ("site:a", "site:z"))
    with actors_for(settings, "library", Llm(warehouse, settings.llm)) as actors, torch.inference_mode():
        acting = actors.trained
        assert actors.why_not == ""
        assert actors.is_tiny
        with acting._at(here):
            assert torch.equal(acting._base.model(IDS).logits, expected)
        with acting._at(nowhere):
            assert torch.equal(acting._base.model(IDS).logits, plain)
        with actors.plain._at(here):
            assert torch.equal(actors.plain._base.model(IDS).logits, plain)
    with torch.inference_mode(), acting._at(here):
        assert torch.equal(acting._base.model(IDS).logits, plain)


def test_another_domain_has_no_champion_and_says_so(settings, warehouse):
    with actors_for(settings, "code", Llm(warehouse, settings.llm)) as actors:
        assert actors.trained is None
        assert actors.why_not == "not run: this warehouse has no champion of the domain code"


def run_of(settings, folder) -> StudyRun:
    return StudyRun("benchmarks", "full", folder, settings, lambda *_: None)


@pytest.mark.slow
def test_four_arms_act_where_there_is_a_champion(settings, tmp_path):
    run = run_of(settings, tmp_path)
    claims = _acted(run, Shelf(), "shelf", {})
    assert list(run.numbers["shelf"]["arms"]) == ["none", "context", "weights", "dual"]
    assert [(claim.measured, claim.verdict) for claim in claims[1:]] == [(0.0, "not shown")] * 3
    assert [claim.n for claim in claims] == [3, 1, 1, 1]


def test_a_report_task_that_the_champion_learned_from_stops_the_measurement(settings, tmp_path):
    names = [EnvironmentTask(task_id=f"test:library:{TRAIN[0]}", text="t", group=f"g{k}") for k in range(40)]
    # Its group is of the report split: it takes a task along that the pipeline has in `train`.
    seen = next(task for task in names if task.split == "report")

    class Known(Shelf):
        def tasks(self):
            return [seen]

    with pytest.raises(LineageError, match="were learned from"):
        _acted(run_of(settings, tmp_path), Known(), "known", {})

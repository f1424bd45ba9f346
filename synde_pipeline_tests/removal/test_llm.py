"""Law 8 where a language model reads: its answers go with their trajectory, and removing asks nothing anew."""

import pytest

from synde_pipeline.llm import ARTEFACT as CACHE
from synde_pipeline.removal.remove import remove
from synde_pipeline.removal.request import Request
from synde_pipeline.settings import LlmConfig, ReflectionConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests import llm_server
from synde_pipeline_tests.memory.test_curate import BAD
from synde_pipeline_tests.reflection.small_model import model
from synde_pipeline_tests.removal.history import Step, live, report_runs, run, settings_of, state_of, without

SCRIPT = [
    Step([run("a", 0), run("b", 0, task=1, calls=BAD, outcome="failure"), *report_runs("r", 0)], is_trained=False),
    Step([run("c", 1, task=2), run("d", 1, task=3, scope="site:b", outcome="unknown")], is_trained=False),
    Step([run("late", 0, task=6, calls=BAD, outcome="failure"), run("e", 2, task=4)], is_trained=False),
]


@pytest.mark.parametrize(
    "gone", ["test:d", *(pytest.param(f"test:{u}", marks=pytest.mark.slow) for u in ("b", "late"))]
)
def test_answers_go_with_their_trajectory_and_nothing_is_asked_anew(tmp_path, gone):
    with llm_server.serving(model) as server:
        llm = LlmConfig(base_url=server.url, model="small")
        with_it = _lived(tmp_path / "with", llm, SCRIPT)
        without_it = _lived(tmp_path / "without", llm, without(SCRIPT, gone))
        asked = len(server.asked)
        certificate = remove(*with_it, Request(trace=gone))
        assert len(server.asked) == asked
    assert certificate["purged"]["llm_answers"] == (2 if gone == "test:d" else 1)
    assert state_of(with_it[0]) == state_of(without_it[0])
    assert _answers(with_it[0]) == _answers(without_it[0])
    assert not any(gone.encode() in text for text in _answers(with_it[0]).values())


def _lived(home, llm: LlmConfig, script: list[Step]):
    plain = settings_of("routed", home)
    settings = plain.model_copy(update={"llm": llm, "reflection": ReflectionConfig(engine="llm", judge="llm")})
    warehouse = Warehouse(settings.warehouse)
    live(warehouse, settings, script)
    return warehouse, settings


def _answers(warehouse: Warehouse) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (warehouse.root / CACHE).rglob("*.json")}

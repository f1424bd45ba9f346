"""Days that a language model reads, through Dagster: cost said first, all or nothing, no second call, stale days."""

from datetime import timedelta

import pytest

from synde_pipeline.defs.run import RunFailedError, run
from synde_pipeline.evaluation.status import status
from synde_pipeline.llm import ARTEFACT as CACHE
from synde_pipeline.reflection.daily import load_reflections
from synde_pipeline.settings import BufferConfig, LlmConfig, MemoryConfig, ReflectionConfig, Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests import llm_server
from synde_pipeline_tests.defs.small import train_logs
from synde_pipeline_tests.helpers import DAY, called, land, synde, synde_json, trajectory
from synde_pipeline_tests.llm_server import refuses
from synde_pipeline_tests.reflection.small_model import LESSON, model

pytestmark = pytest.mark.slow

KEY = "wx-9f8e7d6c5b4a-secret"
LATER = DAY + timedelta(1)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("SYNDE_LLM_KEY", KEY)
    with llm_server.serving(model) as found:
        yield found


def settings_of(home, server, **llm) -> Settings:
    where = {"base_url": server.url, "model": "small", "pause_s": 0.001, "price_in": 2.0, "price_out": 10.0}
    return Settings(
        home=home,
        llm=LlmConfig(**(where | llm)),
        reflection=ReflectionConfig(engine="llm", judge="llm"),
        memory=MemoryConfig(embedder="hashing", min_tasks=1),
        buffer=BufferConfig(threshold=1000),
    )


UNKNOWN = trajectory("test:u", task="t10", outcome="unknown", steps=called(("renew", {"card": 1}, "renewed", True)))


def land_day(warehouse: Warehouse) -> None:
    land(warehouse, [*train_logs(DAY, 6), UNKNOWN])


def files_of(warehouse: Warehouse, *folders: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(warehouse.root)): path.read_bytes()
        for folder in folders
        for path in sorted((warehouse.root / folder).rglob("*"))
        if path.is_file()
    }


def test_a_day_is_read_by_a_model_once_and_its_cost_is_said_first(server, warehouse, home):
    land_day(warehouse)
    said: list[str] = []
    asked_when_said: list[int] = []

    def say(text: str) -> None:
        said.append(text)
        asked_when_said.append(len(server.asked))

    settings = settings_of(home, server)
    run(settings, say=say)
    assert len(server.asked) == 8  # seven reflections and one judgement
    (cost,) = [k for k, text in enumerate(said) if "new calls" in text]
    assert asked_when_said[cost] == 0
    assert "small: 8 new calls of at most" in said[cost]
    assert "costing at most" in said[cost]
    found = {item.trace_uid: item for item in load_reflections(warehouse, DAY)}
    assert {item.engine for item in found.values()} == {"llm"}
    assert (found["test:u"].outcome, found["test:u"].label_source) == ("success", "judge")
    assert found["test:u"].why == "It ended: it succeeded"
    assert {lesson.content for item in found.values() for lesson in item.lessons} == {LESSON}
    header = warehouse.header("reflections", str(DAY))
    assert header.counts["llm_answers"] == header.counts["llm_calls"] == 8
    assert header.counts["llm_tokens_in"] == 800
    assert header.info["settings"]["llm"]["model"] == "small"
    assert status(settings)["stale_reflections"] == 0

    before = files_of(warehouse, "reflections", "memory_deltas", "training_examples", CACHE)
    said.clear()
    assert run(settings, say=say).days == []
    run(settings, [DAY], say=say)
    assert len(server.asked) == 8
    assert files_of(warehouse, "reflections", "memory_deltas", "training_examples", CACHE) == before
    assert not any("new calls" in text for text in said)
    assert not any(KEY.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_usage_is_in_dagsters_metadata(server, warehouse, home):
    import dagster as dg

    from synde_pipeline.defs.instance import open_instance

    land_day(warehouse)
    settings = settings_of(home, server)
    run(settings)
    with open_instance(settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("reflections"))
    found = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (found["llm_run_calls"], found["llm_run_cached"], found["llm_run_tokens_in"]) == (8, 0, 800)
    assert found["llm_run_cost"] == pytest.approx((800 * 2 + 160 * 10) / 1e6)
    assert found["llm_tokens_out"] == 160


def test_a_failing_call_publishes_nothing_of_its_day_and_the_next_run_goes_on(server, warehouse, home):
    land_day(warehouse)
    server.moves += [*[llm_server.answers()] * 4, *[refuses(500)] * 99]
    settings = settings_of(home, server, attempts=2, concurrency=1)
    with pytest.raises(RunFailedError, match=r"reflections failed.*the server answered 500.*run again to go on"):
        run(settings)
    assert warehouse.header("reflections", str(DAY)) is None
    assert len(server.asked) == 6
    assert status(settings)["stale_reflections"] == 1
    server.moves.clear()
    run(settings)
    assert len(server.asked) == 6 + 4
    assert len(load_reflections(warehouse, DAY)) == 7
    text = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert KEY.encode() not in text


def test_without_calls_new_days_are_left_stale_and_what_is_known_works(server, warehouse, home):
    land_day(warehouse)
    settings = settings_of(home, server)
    run(settings)
    before = files_of(warehouse, "reflections", "memory_deltas")
    late = trajectory("test:late", task="t11", steps=called(("find", {"x": 1}, "ok", True)))
    land(warehouse, [late], name="late")
    land(warehouse, train_logs(LATER, 2, domain="archive"), name="later")
    said: list[str] = []
    summary = run(settings.without_calls(), say=said.append)
    assert (summary.days, summary.left_stale) == ([], [DAY, LATER])
    assert len(server.asked) == 8
    assert status(settings)["stale_reflections"] == 2
    assert status(settings)["trajectories"] == 10
    assert files_of(warehouse, "reflections", "memory_deltas") == before
    assert any(f"{DAY}: left as it was, stale" in text for text in said)

    summary = run(settings, say=said.append)
    assert (summary.days, summary.left_stale) == ([DAY, LATER], [])
    assert len(server.asked) == 8 + 3
    assert status(settings)["stale_reflections"] == 0


def test_a_late_log_says_its_cost_first(server, warehouse, home):
    land_day(warehouse)
    land(warehouse, train_logs(LATER, 2, domain="archive"), name="later")
    settings = settings_of(home, server)
    run(settings)
    land(warehouse, [trajectory("test:late", task="t11")], name="late")
    said: list[str] = []
    run(settings, say=said.append)
    assert any(f"{DAY} came late: 1 new calls of at most" in text for text in said)


def test_the_budget_is_one_for_all_days_of_a_run(server, warehouse, home):
    other = DAY + timedelta(5)  # two days that are no range: two Dagster runs
    land(warehouse, [*train_logs(DAY, 3), *train_logs(other, 3, domain="archive")])
    settings = settings_of(home, server, max_tokens=30_000, concurrency=1)
    server.moves += [llm_server.answers(usage=(8000, 0))] * 6
    with pytest.raises(RunFailedError, match=r"budget of .* tokens is used up"):
        run(settings)
    assert 3 <= len(server.asked) <= 4
    assert warehouse.keys("reflections") == [str(DAY)]


def test_the_command_line_says_the_cost_and_can_do_without_calls(server, warehouse, home):
    land_day(warehouse)
    env = {
        "SYNDE_REFLECTOR": "llm",
        "SYNDE_JUDGE": "llm",
        "SYNDE_LLM_URL": server.url,
        "SYNDE_LLM_MODEL": "small",
        "SYNDE_LLM_PRICE_IN": "3",
        "SYNDE_CYCLE_THRESHOLD": "1000",
    }
    left = synde_json("run", "--no-llm", home=home, **env)
    assert (left["days"], left["left_stale"], server.asked) == ([], [str(DAY)], [])
    assert synde_json("status", home=home, **env)["stale_reflections"] == 1
    nobody = synde("run", home=home, check=False, SYNDE_REFLECTOR="llm")
    assert nobody.returncode == 2
    assert "SYNDE_LLM_URL and SYNDE_LLM_MODEL" in nobody.stderr
    text = synde("run", home=home, **env).stdout
    assert "small: 8 new calls of at most" in text
    assert len(server.asked) == 8
    assert synde_json("run", home=home, **env, SYNDE_NO_LLM="1")["left_stale"] == []
    assert synde_json("status", home=home, **env)["stale_reflections"] == 0
    failed = synde(
        "run", home=home, **env | {"SYNDE_LLM_MAX_COST": "0.0000001", "SYNDE_LLM_MODEL": "other"}, check=False
    )
    assert failed.returncode == 1
    assert "the budget of 1e-07 cost is used up" in failed.stderr


def test_another_reader_makes_days_stale(server, warehouse, home):
    land_day(warehouse)
    settings = settings_of(home, server)
    run(settings)
    dearer = settings.model_copy(update={"llm": settings.llm.model_copy(update={"price_in": 9.0, "timeout_s": 5.0})})
    assert run(dearer).days == []
    other = settings.model_copy(update={"llm": settings.llm.model_copy(update={"model": "large"})})
    assert status(other)["stale_reflections"] == 1
    rules = settings.model_copy(update={"reflection": ReflectionConfig()})
    assert run(rules).days == [DAY]
    assert {item.engine for item in load_reflections(warehouse, DAY)} == {"rules"}
    assert len(server.asked) == 8
    assert run(settings).days == [DAY]
    assert len(server.asked) == 8


def mixed_trials(task: int = 11, day=DAY) -> list:
    """A success and a failure of one task."""
    ends = {"success": ("renew", {"card": 1}, "renewed", True), "failure": ("find", {"name": "x"}, "no", False)}
    return [
        trajectory(f"test:{task}-{end}", task=f"t{task}", day=day, outcome=end, steps=called(step))
        for end, step in ends.items()
    ]


def test_trials_are_contrasted_in_the_same_run_within_the_same_budget(server, warehouse, home):
    import dagster as dg

    from synde_pipeline.defs.instance import open_instance
    from synde_pipeline.memory.retrieve import Memory

    land(warehouse, mixed_trials())
    settings = settings_of(home, server)
    said: list[str] = []
    run(settings, say=said.append)
    assert len(server.asked) == 2 + 1
    assert any("small: 1 new calls of at most" in text and "for contrasts of trials" in text for text in said)
    items = Memory.load(warehouse, settings.memory).bank(DAY).items
    assert "loan before renew" in {item.title for item in items}
    with open_instance(settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("trial_contrasts"))
    found = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (found["contrasts"], found["llm_run_calls"], found["llm_run_tokens_in"]) == (1, 1, 100)

    said.clear()
    assert run(settings, say=said.append).days == []
    assert len(server.asked) == 3
    assert not any("new calls" in text for text in said)

    land(warehouse, [trajectory("test:late", task="t11", outcome="failure", steps=())], name="late")
    left = run(settings.without_calls(), say=said.append)
    assert left.left_stale == [DAY]
    assert len(server.asked) == 3
    run(settings, say=said.append)
    assert len(server.asked) == 3 + 2, "the late trial alone, and the trials with it"


def test_a_budget_that_reflections_used_up_leaves_nothing_for_contrasts(server, warehouse, home):
    land(warehouse, mixed_trials())
    server.moves += [llm_server.answers(usage=(11_000, 0))] * 2
    with pytest.raises(RunFailedError, match=r"trial_contrasts failed.*budget of .* tokens is used up"):
        run(settings_of(home, server, max_tokens=24_000, concurrency=1))
    assert len(server.asked) == 2
    run(settings_of(home, server, max_tokens=24_000))
    assert len(server.asked) == 3


def test_embedding_through_an_endpoint_shares_the_budget_of_the_run(server, warehouse, home):
    import dagster as dg

    from synde_pipeline.defs.instance import open_instance
    from synde_pipeline_tests.memory.embedding_server import serving

    land_day(warehouse)
    with serving() as vectors:
        memory = MemoryConfig(embedder="openai:words", min_tasks=1)
        llm = LlmConfig(base_url=vectors.url, pause_s=0.001, price_in=2.0, price_embedding=1.0)
        settings = Settings(home=home, memory=memory, llm=llm, buffer=BufferConfig(threshold=1000))
        with pytest.raises(RunFailedError, match=r"memory_deltas failed.*openai:words was not asked yet"):
            run(settings.without_calls())
        assert vectors.asked == []
        with pytest.raises(RunFailedError, match=r"memory_deltas failed.*budget of 20 tokens"):
            run(settings.model_copy(update={"llm": llm.model_copy(update={"max_tokens": 20})}))
        assert vectors.asked == []
        run(settings)
        n_texts = sum(len(body["input"]) for _, body in vectors.asked)
        with open_instance(settings) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey("memory_deltas"))
        found = {name: value.value for name, value in event.asset_materialization.metadata.items()}
        assert found["llm_run_tokens_in"] == 10 * n_texts
        assert found["llm_run_cost"] == pytest.approx(10 * n_texts / 1e6)
        run(settings.without_calls(), [DAY])
        assert sum(len(body["input"]) for _, body in vectors.asked) == n_texts

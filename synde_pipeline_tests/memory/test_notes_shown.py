"""Notes in prompts: the notebook of the day, where the setting says so and the split keeps its tasks apart."""

import json
from datetime import date, timedelta

import pytest

from synde_pipeline.llm import Llm
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.memory.live import LiveMemory
from synde_pipeline.memory.notebook import notebook, publish_notes
from synde_pipeline.memory.notes_llm import asking
from synde_pipeline.memory.notes_shown import ShownNotes
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.prompting.parts import item_text
from synde_pipeline.reflection.daily import load_reflections, publish_reflections
from synde_pipeline.settings import LlmConfig, PromptConfig, Settings
from synde_pipeline_tests.helpers import called, land, trajectory
from synde_pipeline_tests.llm_server import serving
from synde_pipeline_tests.memory.test_notebook import CONFIG, HELD_OUT, SETTINGS, TRAIN, land_and_read
from synde_pipeline_tests.models_for_tests import tokenizer

SHOWN = Settings(notes=CONFIG.model_copy(update={"in_prompt": True}))


@pytest.fixture
def landed(warehouse):
    return land_and_read(warehouse)


def notes_recalled(memory: Memory, as_of: date, without_task: str | None = None, **words) -> list[str]:
    items = memory.recall("renew", domain="library", as_of=as_of, without_task=without_task, **words)
    return [item.content for item in items if item.kind == "note"]


def test_the_notebook_of_the_day_is_recalled_where_the_split_keeps_its_tasks_apart(warehouse, landed):
    for day in landed:
        publish_deltas(warehouse, day, SETTINGS.memory)
        publish_memory(warehouse, day)
    publish_notes(warehouse, SETTINGS)
    live = LiveMemory(warehouse, SETTINGS.memory)
    assert notes_recalled(live.current(), landed[-1]) == [], "they are for prompts only where the setting says so"
    publish_notes(warehouse, SHOWN)
    memory = live.current()
    for day in landed:
        expected = notebook(warehouse, "library", day, SHOWN).replace("\n", " ")
        assert notes_recalled(memory, day) == notes_recalled(memory, day, f"test:library:{HELD_OUT[0]}") == [expected]
    assert len({tuple(notes_recalled(memory, day)) for day in landed}) > 1
    assert notes_recalled(memory, landed[0] - timedelta(1)) == []
    assert notes_recalled(memory, landed[-1], f"test:library:{TRAIN[90]}") == [], "a task that may be learned from"
    assert notes_recalled(memory, landed[-1], top_k=0) == []
    tight = Memory.load(warehouse, SETTINGS.memory.model_copy(update={"recall_tokens": 5}))
    assert notes_recalled(tight, landed[-1]) == []
    (answer,) = tight.answers([Query("renew", "library", landed[-1])])
    assert answer.passed_over[-1].reason == "budget"


def test_the_notebook_stands_behind_the_items_of_a_prompt(warehouse, landed):
    publish_notes(warehouse, SHOWN)
    item = ShownNotes.of(warehouse, SETTINGS.memory).item("library", landed[-1], None)
    window = PromptEncoder(tokenizer(), PromptConfig(window=2048, max_header=1024)).prompt("library", "renew", [item])
    assert item_text(item) in tokenizer().decode(window.ids)
    assert window.n_context_tokens > 0
    runs = {run.trace_uid for day in landed[:2] for run in load_reflections(warehouse, day)}
    among = ShownNotes.of(warehouse, SETTINGS.memory).among(runs)
    first = among.item("library", landed[-1], None)
    assert first is not None
    assert first.content == notebook(warehouse, "library", landed[1], SHOWN).replace("\n", " ")


def test_notes_by_a_model_are_shown_as_of_days_that_it_was_asked_about(warehouse, landed):
    said = json.dumps({"sentences": ["Runs that call get_loan succeed."]})
    with serving(lambda _: said) as server:
        llm = LlmConfig(base_url=server.url, model="small")
        settings = Settings(notes=SHOWN.notes.model_copy(update={"engine": "llm"}), llm=llm)
        publish_notes(warehouse, settings, asking(Llm(warehouse, llm)))
        n_asked = len(server.asked)
        shown = ShownNotes.of(warehouse, SETTINGS.memory)
        assert {shown.item("library", day, None).content for day in landed} == {"Runs that call get_loan succeed."}
        late = trajectory("late:1", task=TRAIN[50], day=landed[2], steps=called(("renew", {}, "", True)))
        land(warehouse, [late], name="late")
        publish_raw_logs(warehouse, landed[2])
        publish_reflections(warehouse, landed[2])
        unasked = ShownNotes.of(warehouse, SETTINGS.memory)
        assert [unasked.item("library", day, None) is None for day in landed] == [False, False, True, True]
        assert len(server.asked) == n_asked

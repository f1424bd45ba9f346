"""The recorded logs of Langfuse: what their README counted is what comes in, and no other source is claimed."""

from collections import Counter

import pytest

from synde_pipeline.logs.choices import Choices, ScoreRule
from synde_pipeline.logs.reading import native_files, read_file, read_files, spread_over
from synde_pipeline.records import REPLY
from synde_pipeline_tests.helpers import SHARED, needs_shared

MINE = {"synde", "atif", "nvidia-flywheel", "langfuse", "langsmith", "openai-chat", "react-text"}
STEPS = {
    "agno-2025-06-11": ["duckduckgo_search", REPLY],
    "autogen-2025-06-06": [REPLY],
    "google-gemini-2025-08-01": [REPLY],
    "langgraph-js-2025-10-30": ["get_weather", REPLY],
    "langgraph-python-2025-08-22": ["Web-Search", REPLY],
    "llamaindex-2025-06-05": [REPLY],
    "openai-agents-2025-09-30": ["get_weather", REPLY],
    "pydantic-ai-2025-06-06": [REPLY],
    "pydantic-ai-tools-2025-06-06": [REPLY],
    "pydantic-ai-tools-2025-12-04": [
        *("get_pun_suggestion", "get_dad_joke_suggestion", "get_one_liner_suggestion"),
        *(REPLY, REPLY, "final_result"),
    ],
    "pydantic-ai-with-gemini-2025-12-24": [REPLY],
    "vertex-ai-2025-08-01": [REPLY],
}


@needs_shared
@pytest.mark.parametrize("name", STEPS)
def test_each_recorded_trace_is_one_run_without_a_label(name):
    found = read_file(SHARED / "langfuse-traces" / "framework-traces" / f"{name}.trace.json")
    assert (found.format, len(found.trajectories), found.bad, found.n_undated) == ("langfuse", 1, [], 0)
    (run,) = found.trajectories
    assert (run.outcome, run.label_source) == ("unknown", "none")
    assert [one.tool for one in run.steps] == STEPS[name]
    assert all(one.result for one in run.steps if one.tool not in (REPLY, "final_result"))


@needs_shared
def test_no_file_of_another_source_is_claimed():
    files = [path for path in native_files(SHARED) if "langfuse-traces" not in path.parts]
    claimed = Counter(one.format for one in read_files(files, rule=spread_over()) if one.format in MINE)
    assert claimed == {}


@needs_shared
def test_a_persons_rule_labels_the_five_traces_that_carry_the_score_it_names():
    choices = Choices(outcome=ScoreRule.of("score:hallucination<=0.5"))
    found = read_files(native_files(SHARED / "langfuse-traces"), rule=spread_over(), choices=choices)
    said = Counter((run.outcome, run.label_source) for one in found for run in one.trajectories)
    assert said == {
        ("success", "judge"): 4,
        ("failure", "judge"): 1,
        ("unknown", "none"): 6,
    }  # two of the twelve files tell of one trace

"""The recorded runs of agents and evaluations: what their READMEs counted is what comes in."""

from collections import Counter

import pytest

from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline_tests.helpers import SHARED, needs_shared

pytestmark = needs_shared

FILES = {
    # folder or file: (format, trajectories, labelled, successes)
    "swe-agent": ("swe-agent", 13, 0, 0),
    "mini-swe-agent": ("mini-swe-agent", 63, 63, 43),
    "openhands": ("openhands", 100, 100, 22),
    "who-and-when": ("who-and-when", 81, 81, 0),
    "inspect-ai/inspect_ai/tests/analysis": ("inspect-ai", 4, 4, 3),
    "inspect-ai/inspect_ai/tests/log": ("inspect-ai", 1, 1, 1),
    "inspect-ai/inspect_ai/tests/scorer": ("inspect-ai", 10, 10, 8),
    "inspect-ai/inspect_scout": ("inspect-ai", 116, 116, 74),
    "otel-spans/agentevals-jaeger/eval_set_helm.json": ("adk-eval-set", 1, 0, 0),
    "otel-spans/agentevals-jaeger/evalset_k8s_2026-02-20.json": ("adk-eval-set", 1, 0, 0),
    "otel-spans/agentevals-jaeger/helm.json": ("otel", 1, 0, 0),
    "otel-spans/agentevals-jaeger/k8s.json": ("otel", 1, 0, 0),
    "otel-spans/envoy-ai-gateway": ("otel", 7, 0, 0),
    "otel-spans/strands-evals": ("otel", 6, 0, 0),
    # Each trial tried 100 questions. The README's 499 is the sum of the log's own summaries, which miss one of trial 3.
    "reflexion/hotpotqa_runs": ("reflexion", 500, 452, 170),
    "reflexion/programming_runs/root/reflexion_mbpp_py": ("reflexion", 397, 397, 306),
    "reflexion/programming_runs/root/simple_human_eval_py_logging": ("reflexion", 164, 164, 141),
}
SOLVED = (84, 103, 111, 113, 117, 118, 123, 126, 128, 129, 130, 130, 131, 133, 134)
"""Of Reflexion's 134 household tasks, trial by trial."""
GORILLA = "openhands/evaluation/gorilla/evaluation_outputs/CodeActAgent/gpt-4o-2024-05-13_maxiter_30_N_v1.5_"
OTHERS = {
    "humaneval/HumanEval.jsonl.gz": "tasks with tests, no runs (HumanEval)",
    "webarena/config_files/test.raw.json": "task configs, no runs (WebArena)",
    "ace-appworld/experiments/playbooks": "ACE playbook, no runs",
    "MANIFEST.json": "list of files",
    "mini-swe-agent/deepseek__deepseek-chat.deepseek_chat_test_1-100.json": "SWE-bench report",
    "mini-swe-agent/output/deepseek_chat_test_1-100/preds.json.gz": "SWE-bench predictions",
    f"{GORILLA}/metadata_hf.json": "OpenHands settings",
}


def read(place):
    return list(read_files(native_files(SHARED / place), rule=spread_over()))


@pytest.mark.parametrize("place", FILES)
def test_every_recorded_run_is_imported_with_its_label(place):
    name, *counts = FILES[place]
    found = read(place)
    runs = [run for one in found for run in one.trajectories]
    assert {run.source for run in runs} == {name}
    labelled = [run for run in runs if run.outcome != "unknown"]
    assert [len(runs), len(labelled), sum(run.outcome == "success" for run in runs)] == counts
    assert [bad.reason for one in found for bad in one.bad] == []
    assert len({run.trace_uid for run in runs}) == len(runs)
    assert not [word for one in found for word in one.unknown]


@pytest.mark.parametrize("trial", range(15))
def test_every_trial_of_reflexions_household_tasks_has_its_verdicts(trial):
    (found,) = read(f"reflexion/alfworld_runs/root/reflexion_run_logs/env_results_trial_{trial}.json")
    runs = found.trajectories
    assert (len(runs), sum(run.outcome == "success" for run in runs)) == (134, SOLVED[trial])
    assert {(run.trial, run.domain, run.label_source) for run in runs} == {(trial, "household", "verifier")}
    assert found.bad == []


@pytest.mark.parametrize("place", OTHERS)
def test_what_holds_no_runs_is_named(place):
    assert {(one.skipped, len(one.trajectories), len(one.bad)) for one in read(place)} == {(OTHERS[place], 0, 0)}


def test_no_importer_claims_what_another_one_reads():
    folders = {path.parts[len(SHARED.parts)]: path for path in native_files(SHARED) if path.parent != SHARED}
    expected = {"otel-spans": {"otel", "adk-eval-set"}, "langfuse-traces": {"langfuse"}}
    for folder in folders:
        formats = Counter(one.format for one in read(folder) if one.trajectories)
        assert formats.keys() <= expected.get(folder, {folder}), folder


def test_a_second_agents_conversation_is_part_of_the_run_that_called_it():
    (found,) = read("otel-spans/strands-evals/openai_agents_genai_live_spans.json")
    (run,) = found.trajectories
    assert [step.tool for step in run.steps] == [
        *("ask_research_specialist", "lookup_stock_price", "reply", "ask_math_specialist"),
        *("multiply_numbers", "multiply_numbers", "reply", "reply"),
    ]
    assert run.steps[0].result == run.steps[3].state == run.steps[2].arguments

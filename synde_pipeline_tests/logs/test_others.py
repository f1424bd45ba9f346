"""Files of known sources that hold no runs are named as what they are, and no importer reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.importers.registry import OTHERS, told_of
from synde_pipeline_tests.logs.junk import any_json, read

TASK = {
    "task_id": "HumanEval/7",
    "prompt": "def pick():",
    "entry_point": "pick",
    "canonical_solution": "x",
    "test": "y",
}
CONFIG = {"task_id": 7, "sites": ["shop"], "intent": "Look it up", "eval": {"reference_answers": {}}}
PLAYBOOK = "## STRATEGIES\n[shr-00001] Look before you pick.\n\n## MISTAKES\n[mis-00002] Unripe berries.\n"


@pytest.mark.parametrize(
    ("content", "name", "word"),
    [
        ([TASK, TASK], "tasks.jsonl", "tasks with tests, no runs (HumanEval)"),
        (TASK, "one.json", "tasks with tests, no runs (HumanEval)"),
        ([CONFIG], "test.raw.json", "task configs, no runs (WebArena)"),
        ([{"file": "a", "sha256": "b", "licence": "MIT"}], "MANIFEST.json", "list of files"),
        (PLAYBOOK, "playbook.txt", "ACE playbook, no runs"),
        ("instances_by_exit_status:\n  Submitted:\n  - a__b-1\n", "x.yaml", "exit statuses, no runs (mini-swe-agent)"),
    ],
)
def test_what_holds_no_runs_is_named(tmp_path, content, name, word):
    found = read(tmp_path, content, name)
    assert (found.skipped, found.format, found.trajectories, found.bad) == (word, None, [], [])


@given(any_json | st.lists(st.dictionaries(st.sampled_from([*TASK, *CONFIG, "file", "sha256"]), any_json)))
def test_any_json_is_one_of_them_or_none(value):
    assert told_of(value) in {"", *OTHERS}

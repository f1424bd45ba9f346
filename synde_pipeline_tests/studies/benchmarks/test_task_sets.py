"""WebArena's templates and SWE-bench's outcomes, from small files of our own and from the recorded ones."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.records import split_of
from synde_pipeline.studies.benchmarks import swebench, webarena
from synde_pipeline.studies.benchmarks.task_set import Task, TaskSet
from synde_pipeline_tests.helpers import SHARED, needs_shared, trajectory

WEBARENA = SHARED / "webarena" / "config_files" / "test.raw.json"
SWEBENCH = SHARED / "mini-swe-agent"


def config(number: int, template: int, *sites: str) -> dict:
    hidden = {"eval_types": ["string_match"], "reference_answers": {"exact_match": "the hidden answer"}}
    intent = {"intent": f"Look up {number}", "intent_template_id": template, "intent_template": "Look up {{n}}"}
    return {"task_id": number, "sites": list(sites or ["shop"]), "eval": hidden, **intent}


def task_set(templates) -> TaskSet:
    tasks = [
        Task(task_id=f"x:web:{k}", text="t", group=f"template-{template}" if template else "")
        for k, template in enumerate(templates)
    ]
    return TaskSet(name="x", tasks=tuple(tasks))


@given(st.lists(st.integers(0, 6), max_size=40))
def test_no_template_is_in_two_splits_and_no_task_is_lost(templates):
    tasks = task_set(templates)
    found = {split: tasks.of_split(split) for split in ("train", "gate", "report")}
    assert sum(map(len, found.values())) == len(tasks.tasks)
    units = [{task.unit for task in part} for part in found.values()]
    assert sum(map(len, units)) == len(set.union(*units))
    for name, learn, tried in tasks.leave_one_out():
        assert {task.unit for task in tried} == {name}
        assert name not in {task.unit for task in learn}
        assert len(learn) + len(tried) == len(tasks.tasks)


def test_a_task_without_a_group_follows_its_own_id():
    task = Task(task_id="x:web:7", text="t")
    assert task.split == split_of("x:web:7")


def test_configs_become_tasks_without_their_ground_truth(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([config(0, 5), config(1, 5, "wiki", "map"), config(2, 6, "map", "wiki")]))
    found = webarena.read_tasks(path)
    assert [task.task_id for task in found.tasks] == [f"webarena:web:{k}" for k in range(3)]
    assert [task.group for task in found.tasks] == ["template-5", "template-5", "template-6"]
    assert found.counts["scope"] == {"site:map+wiki": 2, "site:shop": 1}
    assert "hidden answer" not in found.model_dump_json()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"task_id": 1}]', '[{"task_id": 1, "sites": []}]', "\xff"])
def test_what_holds_no_configs_is_refused_by_name(tmp_path, text):
    path = tmp_path / "tasks.json"
    path.write_text(text, "latin-1")
    with pytest.raises(InputError, match="SYNDE_WEBARENA"):
        webarena.read_tasks(path)


@needs_shared
def test_the_recorded_configs_are_812_tasks_of_190_templates_none_of_them_torn():
    found = webarena.read_tasks(WEBARENA)
    assert (len(found.tasks), len(found.groups)) == (812, 190)
    assert all(len({task.split for task in group}) == 1 for group in found.groups.values())
    raw = json.loads(WEBARENA.read_text())
    text_of = {f"webarena:web:{row['task_id']}": row["intent_template"] for row in raw}
    splits: dict[str, set[str]] = {}
    for task in found.tasks:
        splits.setdefault(text_of[task.task_id], set()).add(task.split)
    assert all(len(held) == 1 for held in splits.values()), "equal template texts are in one split too"
    torn, n = found.torn_by_task_hash()
    by_id: dict[int, set[str]] = {}
    for row in raw:
        by_id.setdefault(row["intent_template_id"], set()).add(split_of(f"webarena:web:{row['task_id']}"))
    assert torn == sum(len(held) > 1 for held in by_id.values()) > n / 2


# -- SWE-bench ---------------------------------------------------------------------------------------------------------

REPORT = {
    "resolved_ids": ["a__b-1"],
    "unresolved_ids": ["a__b-2"],
    "error_ids": ["c__d-3"],
    "incomplete_ids": ["c__d-4"],
    "submitted_ids": ["a__b-1", "a__b-2", "c__d-3"],
}


def test_reports_of_both_layouts_say_the_same():
    found = swebench.outcomes(REPORT)
    assert found == {"a__b-1": "success", "a__b-2": "failure", "c__d-3": "failure", "c__d-4": "unknown"}
    older = {"resolved": ["a__b-1"], "generated": ["a__b-1", "a__b-2"], "no_generation": ["c__d-3"]}
    assert swebench.outcomes(older) == {name: found[name] for name in ("a__b-1", "a__b-2", "c__d-3")}
    assert swebench.outcomes({"messages": []}) is None
    assert swebench.outcomes([1]) is None


def test_a_report_that_contradicts_itself_is_refused():
    with pytest.raises(InputError, match="a__b-1 resolved and not"):
        swebench.outcomes({**REPORT, "error_ids": ["a__b-1"]})


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    (tmp_path / "other.json").write_text("{}")
    deep = tmp_path / "out" / "a__b-1"
    deep.mkdir(parents=True)
    (deep / "a__b-1.traj.json").write_text("{}")
    (tmp_path / "a__b-2.traj").write_text("{}")
    with gzip.open(tmp_path / "output.jsonl.gz", "wt") as file:
        file.write('{"instance_id": "c__d-3"}\n\n{"instance_id": "e__f-9"}\n')
    return tmp_path


def test_trajectories_get_the_outcome_of_the_report_beside_them(runs):
    found = swebench.read_tasks(runs)
    assert {task.task_id.rsplit(":", 1)[1]: task.outcome for task in found.tasks} == {
        "a__b-1": "success",
        "a__b-2": "failure",
        "c__d-3": "failure",
        "e__f-9": "unknown",
    }
    assert found.counts["scope"] == {"repository:a/b": 2, "repository:c/d": 1, "repository:e/f": 1}


def test_a_folder_without_one_report_or_without_trajectories_is_refused(runs, tmp_path_factory):
    (runs / "second.json").write_text(json.dumps(REPORT))
    with pytest.raises(InputError, match="2 SWE-bench reports"):
        swebench.read_tasks(runs)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(InputError, match="trajectories of 0 instances"):
        swebench.read_tasks(empty)
    (empty / "broken.json").write_text("{")
    with pytest.raises(InputError, match="JSONDecodeError"):
        swebench.read_tasks(empty)


def test_a_logged_run_is_labelled_by_its_instance_and_by_nothing_else(runs):
    tasks = swebench.read_tasks(runs)
    run = trajectory(task="a__b-2", domain="software", outcome="unknown")
    found = swebench.labelled(run, tasks)
    assert (found.outcome, found.label_source, found.reward) == ("failure", "verifier", 0.0)
    type(found).model_validate(found.model_dump())
    undecided = trajectory(task="e__f-9", domain="software", outcome="unknown")
    assert swebench.labelled(undecided, tasks) == undecided


@needs_shared
def test_the_recorded_runs_are_63_of_which_the_report_calls_43_resolved():
    found = swebench.read_tasks(SWEBENCH)
    assert found.counts["outcome"] == {"failure": 20, "success": 43}

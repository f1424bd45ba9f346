"""Labels and runs that are imported on different days: they meet, in either order, and nothing is counted twice."""

import json
from datetime import date

import pytest

from synde_pipeline.logs.choices import AS_LOGGED, Choices, ScoreRule
from synde_pipeline.logs.joins import Joined, join_labels, waiting
from synde_pipeline.logs.labels import LabelRow, file_labels
from synde_pipeline.logs.landing import file_import, landing_days
from synde_pipeline.logs.reading import fixed_per_day, native_files, read_files
from synde_pipeline.logs.tombstones import bury
from synde_pipeline.logs.validate import read_day
from synde_pipeline.removal.inputs import Gone, purge_landing
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.logs.span_logs import current, nanoseconds, otlp, pairs
from synde_pipeline_tests.logs.test_langfuse import EXPORT, TRACE, score
from synde_pipeline_tests.logs.test_langsmith import RUNS, feedback
from synde_pipeline_tests.logs.test_swe_logs import NEW

START, TODAY, LATER = date(2023, 1, 1), date(2025, 5, 1), date(2025, 5, 4)
AT = "2025-03-04T08:00:00Z"


@pytest.fixture
def warehouse(tmp_path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse")


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
    return path


def taken_in(warehouse, path, today=TODAY, rule=None) -> Joined:
    choices = Choices(outcome=ScoreRule.of(rule)) if rule else AS_LOGGED
    found = list(read_files(native_files(path), rule=fixed_per_day(date(2025, 3, 1), 9), choices=choices))
    for one in found:
        file_import(warehouse, one, START, today)
    return join_labels(warehouse, found, choices, today)


def runs(warehouse) -> dict[str, tuple[str, str, str]]:
    """Uid -> day, outcome and giver in raw logs."""
    rows = [run for day in landing_days(warehouse) for run in read_day(warehouse, day).kept]
    assert len({run.trace_uid for run in rows}) == len(rows)
    return {run.trace_uid: (str(run.day), run.outcome, run.label_source) for run in rows}


def state(warehouse) -> dict[str, bytes]:
    root = warehouse.root / "landing"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def trace(name="t-1", at="2025-03-01T10:00:00.500Z"):
    rows = [row | {"traceId": name} for row in EXPORT["observations"]]
    return {"trace": TRACE | {"id": name, "timestamp": at}, "observations": rows}


def evaluated(value):
    told = {"gen_ai.evaluation.name": "quality", "gen_ai.evaluation.score.value": value}
    record = {
        "traceId": "t1",
        "timeUnixNano": nanoseconds(86400 * 2),
        "eventName": "gen_ai.evaluation.result",
        "attributes": pairs(told),
    }
    return {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": [record]}]}]}


SOURCES = {
    "langfuse": (trace(), [score("correct", 1, "BOOLEAN", "ANNOTATION", timestamp=AT)], None, "2025-03-04", "human"),
    "langsmith": (RUNS, [feedback("correct", True, modified_at=AT)], None, "2025-03-04", "human"),
    "otel": (otlp(current()), evaluated(0.9), "score:quality>=0.5", "2023-11-16", "judge"),
    "swe-bench": (
        NEW | {"instance_id": "acme__gate-7"},
        {"resolved_ids": ["acme__gate-7"], "unresolved_ids": []},
        None,
        str(TODAY),
        "verifier",
    ),
}


@pytest.mark.parametrize("is_label_first", [False, True], ids=["runs first", "labels first"])
@pytest.mark.parametrize("source", SOURCES)
def test_labels_of_another_import_move_the_run_to_their_day_in_either_order(
    tmp_path, warehouse, source, is_label_first
):
    native, labels, rule, day, giver = SOURCES[source]
    files = [put(tmp_path / "a" / "run.json", native), put(tmp_path / "b" / "said.json", labels)]
    first, second = reversed(files) if is_label_first else files
    assert taken_in(warehouse, first, rule=rule).n_labels == 0
    assert waiting(warehouse) == is_label_first
    joined = taken_in(warehouse, second, rule=rule)
    assert (joined.n_labels, joined.n_waiting) == (1, 0)
    assert list(runs(warehouse).values()) == [(day, "success", giver)]
    before = state(warehouse)
    for file in files:
        assert taken_in(warehouse, file, LATER, rule).n_labels == 0
    assert taken_in(warehouse, tmp_path / "a", LATER).n_labels == 0
    assert state(warehouse) == before


def test_a_folder_whose_scores_came_later_holds_no_run_twice(tmp_path, warehouse):
    put(tmp_path / "logs" / "run.json", trace())
    taken_in(warehouse, tmp_path / "logs")
    put(tmp_path / "logs" / "scores.json", [score("correct", 0, "BOOLEAN", timestamp=AT)])
    assert taken_in(warehouse, tmp_path / "logs").n_labels == 1
    assert runs(warehouse) == {"langfuse:t-1": ("2025-03-04", "failure", "judge")}
    assert sum(len(read_day(warehouse, day).superseded) for day in landing_days(warehouse)) == 0


def test_a_run_whose_landing_file_expired_is_landed_again_and_takes_its_label(tmp_path, warehouse):
    run = put(tmp_path / "run.json", trace())
    taken_in(warehouse, run)
    for path in (warehouse.root / "landing").glob("day=*/*.jsonl"):
        path.unlink()
    taken_in(warehouse, put(tmp_path / "scores.json", [score("correct", 0, "BOOLEAN", timestamp=AT)]))
    assert runs(warehouse) == {}
    taken_in(warehouse, run)
    assert runs(warehouse) == {"langfuse:t-1": ("2025-03-04", "failure", "judge")}


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [
        (("EVAL", 1, "2025-03-06"), ("ANNOTATION", 0, "2025-03-04"), "failure"),
        (("API", 1, "2025-03-04"), ("EVAL", 0, "2025-03-06"), "success"),
        (("EVAL", 1, "2025-03-04"), ("EVAL", 0, "2025-03-06"), "failure"),
    ],
)
def test_the_most_trusted_then_the_latest_counts_in_whatever_order_they_come(
    tmp_path, warehouse, one, other, outcome, turn
):
    taken_in(warehouse, put(tmp_path / "run.json", trace()))
    for number, (giver, value, day) in enumerate([one, other][::turn]):
        said = [score("correct", value, "BOOLEAN", giver, timestamp=f"{day}T08:00:00Z")]
        taken_in(warehouse, put(tmp_path / f"scores-{number}.json", said))
    assert runs(warehouse)["langfuse:t-1"][1] == outcome


def test_what_the_log_says_itself_stays_unless_somebody_trusted_as_much_says_otherwise(tmp_path, warehouse):
    spans = current()
    spans[-1]["attributes"] |= {
        "annotations.0.annotation.name": "correct",
        "annotations.0.annotation.label": "correct",
        "annotations.0.annotation.annotator_kind": "HUMAN",
    }
    taken_in(warehouse, put(tmp_path / "spans.json", otlp(spans)))
    assert taken_in(warehouse, put(tmp_path / "a.json", evaluated(0.1)), rule="score:quality>=0.5").n_labels == 0
    assert [row[1:] for row in runs(warehouse).values()] == [("success", "human")]


def test_a_persons_later_word_is_not_undone_by_the_same_report_again(tmp_path, warehouse):
    taken_in(warehouse, put(tmp_path / "run.json", NEW | {"instance_id": "acme__gate-7"}))
    report = put(tmp_path / "report.json", {"resolved_ids": ["acme__gate-7"], "unresolved_ids": []})
    taken_in(warehouse, report)
    (uid,) = runs(warehouse)
    said = {"trace_uid": uid, "outcome": "failure", "label_source": "human", "at": "2025-05-02T10:00:00Z"}
    file_labels(warehouse, [LabelRow.model_validate(said)])
    taken_in(warehouse, report, LATER)
    assert runs(warehouse)[uid] == ("2025-05-02", "failure", "human")


def test_a_report_that_changed_its_mind_twice_in_a_day_is_followed(tmp_path, warehouse):
    taken_in(warehouse, put(tmp_path / "run.json", NEW | {"instance_id": "acme__gate-7"}))
    for good, outcome in ((True, "success"), (False, "failure"), (True, "success")):
        names = ("resolved_ids", "unresolved_ids") if good else ("unresolved_ids", "resolved_ids")
        taken_in(warehouse, put(tmp_path / "report.json", dict(zip(names, (["acme__gate-7"], []), strict=True))))
        assert [row[1] for row in runs(warehouse).values()] == [outcome]


def test_a_rule_given_with_the_runs_reaches_scores_that_wait_and_no_other_runs(tmp_path, warehouse):
    said = [score("quality", 4, traceId=name, timestamp=AT) for name in ("t-1", "t-2")]
    taken_in(warehouse, put(tmp_path / "scores.json", said))
    taken_in(warehouse, put(tmp_path / "b.json", trace("t-2")))
    taken_in(warehouse, put(tmp_path / "a.json", trace()), rule="score:quality>=5")
    taken_in(warehouse, put(tmp_path / "a.json", trace()), LATER)
    assert {uid: row[1] for uid, row in runs(warehouse).items()} == {
        "langfuse:t-1": "failure",
        "langfuse:t-2": "unknown",
    }


CHAT = {
    "messages": [{"role": "user", "content": "Water bed 3."}, {"role": "assistant", "content": "Done."}],
    "timestamp": "2025-03-01T10:00:00Z",
    "metadata": {"quality": 4},
}


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["in its row", "in another file"])
def test_a_rule_that_a_person_thinks_of_later_and_changes_labels_the_same_run(tmp_path, warehouse, is_elsewhere):
    native = trace() if is_elsewhere else CHAT
    put(tmp_path / "logs" / "run.jsonl", native)
    if is_elsewhere:
        put(tmp_path / "logs" / "scores.json", [score("quality", 4, timestamp=AT)])
    taken_in(warehouse, tmp_path / "logs")
    for rule, outcome in ((">=5", "failure"), (">=4", "success"), (">=5", "failure"), (">=5", "failure")):
        assert taken_in(warehouse, tmp_path / "logs", rule=f"score:quality{rule}").n_waiting == 0
        assert [row[1] for row in runs(warehouse).values()] == [outcome]
        assert taken_in(warehouse, tmp_path / "logs", LATER).n_labels == 0
    assert sum(len(read_day(warehouse, day).superseded) for day in landing_days(warehouse)) == 0


def test_a_trials_result_labels_the_runs_of_its_folder_alone(tmp_path, warehouse):
    step = {"step_id": 1, "source": "user", "message": "Water bed 3.", "timestamp": "2025-03-01T10:00:00Z"}
    act = {"step_id": 2, "source": "agent", "message": "Done.", "timestamp": "2025-03-01T10:00:01Z"}
    for name in ("dry__a", "dry__b"):
        run = {"schema_version": "ATIF-v1.4", "session_id": name, "agent": {"name": "G"}, "steps": [step, act]}
        put(tmp_path / "job" / name / "agent" / "trajectory.json", run)
    taken_in(warehouse, tmp_path / "job")
    result = {"trial_name": "dry__b", "task_name": "dry", "verifier_result": {"rewards": {"reward": 1.0}}}
    joined = taken_in(warehouse, put(tmp_path / "job" / "dry__b" / "result.json", result))
    assert (joined.n_labels, joined.n_waiting) == (1, 0)
    assert {uid: row[1] for uid, row in runs(warehouse).items()} == {"atif:dry__a": "unknown", "atif:dry__b": "success"}


# -- removal -----------------------------------------------------------------------------------------------------------


def lived(root, tmp_path, names, said):
    """Two imports of runs and one of labels; a run that is removed and a label that waits are among them."""
    warehouse = Warehouse(root)
    for name in names:
        taken_in(warehouse, put(tmp_path / "logs" / f"{name}.json", trace(name)))
    taken_in(warehouse, put(tmp_path / "scores.json", said))
    return warehouse


def test_after_a_removal_landing_is_as_if_the_run_and_what_was_said_of_it_had_never_come(tmp_path):
    said = [score("correct", 1, "BOOLEAN", traceId=name, timestamp=AT) for name in ("t-1", "t-2", "t-9")]
    warehouse = lived(tmp_path / "with", tmp_path, ("t-1", "t-2"), said)
    other = lived(tmp_path / "without", tmp_path, ("t-2",), said[1:])
    gone = Gone(frozenset({"langfuse:t-1"}))
    assert purge_landing(warehouse, gone) == 3  # the run, its label row, and what waited to be joined again
    assert purge_landing(warehouse, gone) == 0
    assert sorted(state(warehouse).values()) == sorted(state(other).values())
    assert not [name for name, data in state(warehouse).items() if b"t-1" in data]


def test_what_was_said_of_a_removed_run_does_not_come_back(tmp_path, warehouse):
    taken_in(warehouse, put(tmp_path / "run.json", trace()))
    purge_landing(warehouse, Gone(frozenset({"langfuse:t-1"})))
    bury(warehouse, ["langfuse:t-1"], frozenset())
    joined = taken_in(warehouse, put(tmp_path / "scores.json", [score("correct", 1, "BOOLEAN", timestamp=AT)]))
    assert (joined.n_labels, joined.n_waiting) == (0, 0)


def test_a_report_stays_for_the_other_runs_that_it_speaks_of(tmp_path, warehouse):
    for name, model in (("a", "one"), ("b", "two")):
        put(tmp_path / name / "run.json", NEW | {"instance_id": "acme__gate-7", "environment": model})
    taken_in(warehouse, tmp_path / "a")
    put(tmp_path / "report.json", {"resolved_ids": ["acme__gate-7"], "unresolved_ids": []})
    taken_in(warehouse, tmp_path / "report.json")
    (first,) = runs(warehouse)
    taken_in(warehouse, tmp_path / "b")
    assert [row[1] for row in runs(warehouse).values()] == ["success", "success"]
    purge_landing(warehouse, Gone(frozenset({first})))
    assert (len(runs(warehouse)), waiting(warehouse)) == (1, 0)
    purge_landing(warehouse, Gone(frozenset(runs(warehouse))))
    assert state(warehouse) == {}


def test_removing_a_day_takes_what_was_said_on_it(tmp_path, warehouse):
    taken_in(warehouse, put(tmp_path / "scores.json", [score("correct", 1, "BOOLEAN", timestamp=AT)]))
    purge_landing(warehouse, Gone(frozenset(), date(2025, 3, 5)))
    assert waiting(warehouse) == 1
    purge_landing(warehouse, Gone(frozenset(), date(2025, 3, 4)))
    assert state(warehouse) == {}

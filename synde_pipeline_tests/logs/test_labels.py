"""Labels that come later: the last one counts, the run moves to its day, and nothing else changes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.daily import is_current, load_raw_logs, publish_raw_logs
from synde_pipeline.logs.labels import LabelRow, file_labels, labels_in
from synde_pipeline.logs.validate import landing_hash, read_day
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import DAY, land, trajectory

DAYS = [DAY + timedelta(days=k) for k in range(5)]
RUNS = [trajectory(f"test:{k}", day=DAYS[k % 2], outcome="unknown") for k in range(4)]


def said(k: int, day: int, outcome: str = "success", hour: int = 12, by: str = "human") -> LabelRow:
    at = datetime(DAYS[day].year, DAYS[day].month, DAYS[day].day, hour, tzinfo=UTC)
    return LabelRow(trace_uid=f"test:{k}", outcome=outcome, label_source=by, at=at)


@pytest.fixture
def landed(tmp_path) -> Warehouse:
    warehouse = Warehouse(tmp_path / "warehouse")
    land(warehouse, RUNS)
    return warehouse


def raw(warehouse: Warehouse) -> dict[str, tuple[int, str, str]]:
    """Uid -> number of its day, outcome, label source, over all days."""
    found = {}
    for number, day in enumerate(DAYS):
        for run in read_day(warehouse, day).kept:
            assert run.trace_uid not in found
            assert run.day == day
            found[run.trace_uid] = (number, run.outcome, run.label_source)
    return found


def test_a_label_of_a_later_day_moves_the_run_there(landed):
    file_labels(landed, [said(0, 3, "failure")])
    assert raw(landed) == {
        "test:0": (3, "failure", "human"),
        "test:1": (1, "unknown", "none"),
        "test:2": (0, "unknown", "none"),
        "test:3": (1, "unknown", "none"),
    }
    assert read_day(landed, DAYS[0]).counts["moved_out"] == 1
    assert read_day(landed, DAYS[3]).counts["moved_in"] == 1


def test_a_label_of_the_runs_own_day_or_before_stays_there(landed):
    file_labels(landed, [said(0, 0), said(1, 0)])
    assert raw(landed)["test:0"] == (0, "success", "human")
    assert raw(landed)["test:1"] == (1, "success", "human")


def test_of_several_labels_the_last_one_counts_in_whatever_order_they_were_filed(landed):
    rows = [said(0, 1, "success"), said(0, 3, "failure", by="user"), said(0, 3, "partial", hour=1)]
    for row in reversed(rows):
        file_labels(landed, [row])
    assert raw(landed)["test:0"] == (3, "failure", "user")


def test_the_logs_own_label_gives_way(tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse")
    land(warehouse, [trajectory("test:0", day=DAY, outcome="success")])
    file_labels(warehouse, [said(0, 2, "failure")])
    assert raw(warehouse) == {"test:0": (2, "failure", "human")}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(["success", "failure"])), max_size=8))
def test_no_run_is_lost_or_doubled_and_the_ledger_adds_up(tmp_path_factory, said_of):
    warehouse = Warehouse(tmp_path_factory.mktemp("labels") / "warehouse")
    land(warehouse, RUNS)
    file_labels(warehouse, [said(k, day, outcome) for k, day, outcome in said_of])
    assert raw(warehouse).keys() == {run.trace_uid for run in RUNS}
    waiting = 0
    for day in DAYS:
        found = read_day(warehouse, day)
        out = len(found.kept) + found.n_duplicates + len(found.superseded) + len(found.quarantined) + found.n_pending
        assert found.n_in + found.n_moved_in == out + found.n_moved_out
        waiting += found.n_labels_waiting
    assert waiting == any(k == 4 for k, _, _ in said_of)  # the one run that landing does not hold


def test_exactly_the_days_that_change_are_stale(landed):
    for day in DAYS:
        publish_raw_logs(landed, day)
    file_labels(landed, [said(0, 3)])
    assert [is_current(landed, day) for day in DAYS] == [False, True, True, False, True]
    for day in DAYS:
        publish_raw_logs(landed, day)
    assert [run.trace_uid for run in load_raw_logs(landed, DAYS[3])] == ["test:0"]
    file_labels(landed, [said(0, 4)])
    assert [is_current(landed, day) for day in DAYS] == [False, True, True, False, False]


def test_the_same_labels_again_change_nothing(landed):
    file_labels(landed, [said(0, 3), said(1, 3)])
    before = [landing_hash(landed, day) for day in DAYS]
    file_labels(landed, [said(1, 3), said(0, 3)])
    assert [landing_hash(landed, day) for day in DAYS] == before


def test_a_label_waits_for_its_run(tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse")
    file_labels(warehouse, [said(0, 2)])
    assert read_day(warehouse, DAYS[2]).counts["labels_waiting"] == 1
    land(warehouse, RUNS)
    assert raw(warehouse)["test:0"] == (2, "success", "human")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"trace_uid": "test:0"}', "outcome"),
        (said(0, 2).model_dump_json().replace("success", "unknown"), "outcome"),
        (said(0, 2).model_dump_json().replace("human", "none"), "comes from"),
        (said(0, 3).model_dump_json(), "folder of"),
        ("no json", "JSON"),
    ],
)
def test_what_is_no_label_is_quarantined_with_its_reason(landed, line, reason):
    folder = landed.path("landing", str(DAYS[2]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels-ours.jsonl").write_text(line.rstrip() + "\n")
    found = read_day(landed, DAYS[2])
    assert [bad.raw for bad in found.quarantined] == [line.rstrip().encode()]
    assert reason in found.quarantined[0].reason
    assert labels_in(landed).last == {}


def test_a_label_that_is_still_being_written_waits_and_one_without_an_end_of_line_counts(landed):
    folder = landed.path("landing", str(DAYS[2]))
    folder.mkdir(parents=True, exist_ok=True)
    whole = said(0, 2).model_dump_json()
    for text, outcome in ((whole[:40], "unknown"), (whole, "success")):
        (folder / "labels-ours.jsonl").write_text(text)
        assert read_day(landed, DAYS[2]).quarantined == []
        assert raw(landed)["test:0"][1] == outcome

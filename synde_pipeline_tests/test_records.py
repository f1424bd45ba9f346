"""Records: one text for equal values, hashes that ignore the day, a split that needs no state, and what is refused."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synde_pipeline.records import Step, Trajectory, canonical_json, content_hash, split_of
from synde_pipeline_tests.helpers import step, trajectories, trajectory

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def shuffled_keys(value):
    """The same JSON value with all its keys in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled_keys(value[key]) for key in reversed(value)}
    return [shuffled_keys(item) for item in value] if isinstance(value, list) else value


@given(json_values)
def test_canonical_json_is_json_of_the_same_value(value):
    assert json.loads(canonical_json(value)) == value


@given(json_values)
def test_the_order_of_keys_changes_neither_canonical_json_nor_hash(value):
    assert canonical_json(shuffled_keys(value)) == canonical_json(value)


def test_canonical_json_has_no_spaces_sorted_keys_and_text_as_it_is():
    assert canonical_json({"b": [1, "ü"], "a": None}) == '{"a":null,"b":[1,"ü"]}'


def test_a_content_hash_is_the_published_sha256_of_canonical_json():
    # printf '{"a":1}' | sha256sum
    assert content_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@given(trajectories(), st.dates(date(2024, 1, 1), date(2026, 1, 1)))
def test_the_content_hash_ignores_the_day(item, day):
    assert item.model_copy(update={"day": day}).content_hash == item.content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"task": "another"},
        {"trial": 1},
        {"model": "other"},
        {"steps": ()},
        {"reward": 0.5},
        {"ended_at": datetime(2025, 1, 3, tzinfo=UTC)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_content_hash_sees_everything_else(change):
    assert trajectory().model_copy(update=change).content_hash != trajectory().content_hash


@given(trajectories())
def test_a_trajectory_survives_its_own_json(item):
    again = Trajectory.model_validate_json(item.model_dump_json())
    assert again == item
    assert again.content_hash == item.content_hash


def test_times_without_a_zone_are_read_as_utc_and_others_are_moved_to_it():
    naive = step(timestamp="2025-01-03T10:00:00")
    moved = step(timestamp=datetime(2025, 1, 3, 12, tzinfo=timezone(timedelta(hours=2))))
    assert naive.timestamp == moved.timestamp == datetime(2025, 1, 3, 10, tzinfo=UTC)


def test_an_action_is_the_tool_and_its_arguments():
    assert step(tool="renew", arguments={"b": 1, "a": 2}).action == 'renew {"a":2,"b":1}'


# -- the split ----------------------------------------------------------------------------------------------------


def test_the_split_of_known_tasks_never_changes():
    words = "gate report train train train train report gate train report train gate"
    assert [split_of(f"tau:library:{k}") for k in range(12)] == words.split()


def test_the_split_is_about_sixty_twenty_twenty():
    splits = [split_of(f"test:library:{k}") for k in range(5000)]
    shares = {name: splits.count(name) / 5000 for name in ("train", "gate", "report")}
    assert shares == pytest.approx({"train": 0.6, "gate": 0.2, "report": 0.2}, abs=0.03)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 0.5), st.floats(0, 0.5))
def test_every_task_is_in_one_split_and_stays_there(task_id, gate, report):
    assert split_of(task_id, gate=gate, report=report) in ("train", "gate", "report")
    assert split_of(task_id, gate=gate, report=report) == split_of(task_id, gate=gate, report=report)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_smaller_train_share_takes_no_new_task_into_training(task_id):
    if split_of(task_id, gate=0.3, report=0.3) == "train":
        assert split_of(task_id) == "train"


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["task", "system", "model"])
def test_a_lone_surrogate_is_refused_with_its_reason(field):
    with pytest.raises(ValidationError, match=r"lone surrogate|unicode"):
        Trajectory(**(trajectory().model_dump() | {field: "half \ud83d"}))


def test_a_lone_surrogate_inside_a_step_is_refused():
    with pytest.raises(ValidationError, match="lone surrogate"):
        trajectory(steps=(step(state="\udc80"),))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"steps": (step(1),)}, "0, 1, 2"),
        ({"steps": (step(0), step(0))}, "0, 1, 2"),
        ({"outcome": "unknown", "label_source": "verifier"}, "exactly when"),
        ({"outcome": "success", "label_source": "none"}, "exactly when"),
        ({"task_id": "test:retail:1"}, "another domain"),
        ({"task_id": "no-colons"}, "pattern"),
        ({"domain": "Library"}, "pattern"),
        ({"trace_uid": "x"}, "at least 3"),
        ({"trace_uid": "x" * 201}, "at most 200"),
        ({"reward": float("nan")}, "finite"),
        ({"reward": float("inf")}, "finite"),
        ({"trial": -1}, "greater than or equal"),
        ({"trial": 2**31}, "less than"),
        ({"schema_version": 2}, "less than or equal"),
        ({"outcome": "great"}, "Input should be"),
        ({"surprise": 1}, "Extra inputs"),
        ({"started_at": "yesterday"}, "isoformat"),
        ({"started_at": "0001-01-01T00:00:00+05:00"}, "no UTC equivalent"),
    ],
)
def test_an_invalid_trajectory_is_refused(values, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Trajectory(**(trajectory().model_dump() | values))


@pytest.mark.parametrize(
    "values", [{"tool": ""}, {"tool": "two words"}, {"index": -1}, {"confidence": 1.2}, {"args": "x"}]
)
def test_an_invalid_step_is_refused(values):
    with pytest.raises(ValidationError):
        Step(**({"index": 0, "tool": "find"} | values))


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        trajectory().task = "other"

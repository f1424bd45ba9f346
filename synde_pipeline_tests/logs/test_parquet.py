"""Records <-> Parquet: every valid record survives, and equal records are equal bytes."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.landing import quarantine_table
from synde_pipeline.logs.parquet import QUARANTINE, TRAJECTORIES, from_table, table_hash, to_table
from synde_pipeline.records import Trajectory
from synde_pipeline.storage import Header
from synde_pipeline_tests.helpers import DAY, step, trajectories, trajectory


def write(warehouse, items):
    table = to_table(items)
    header = Header(artefact="raw_logs", key=str(DAY), content_hash=table_hash(table), counts={"n": len(items)})
    warehouse.publish_table(header, table)
    return warehouse.table_path("raw_logs", str(DAY))


@given(st.lists(trajectories(), max_size=4))
def test_every_record_comes_back_equal_from_parquet(warehouse, items):
    write(warehouse, items)
    again = from_table(warehouse.read_table("raw_logs", str(DAY)))
    assert again == items
    assert [item.content_hash for item in again] == [item.content_hash for item in items]


@given(st.lists(trajectories(), max_size=3))
def test_a_second_write_is_byte_identical(warehouse, items):
    first = write(warehouse, items).read_bytes()
    assert write(warehouse, items).read_bytes() == first


@pytest.mark.parametrize(
    "item",
    [
        trajectory(trial=2**31 - 1),
        trajectory(reward=5e-324),
        trajectory(system="nul \x00, newline \n, astral 🜚, combining e\u0301"),
        trajectory(started_at=datetime(1, 1, 1, tzinfo=UTC), ended_at=datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
        trajectory(steps=(step(result="x" * 1_000_000),)),
        trajectory(steps=()),
    ],
    ids=["largest trial", "smallest reward", "odd text", "ends of time", "a megabyte", "no steps"],
)
def test_the_extremes_come_back_equal(warehouse, item):
    write(warehouse, [item])
    assert from_table(warehouse.read_table("raw_logs", str(DAY))) == [item]


def test_an_empty_day_keeps_its_columns(warehouse):
    write(warehouse, [])
    table = warehouse.read_table("raw_logs", str(DAY))
    assert table.num_rows == 0
    assert table.schema.remove_metadata() == TRAJECTORIES


def test_there_is_one_column_for_every_field_of_a_record():
    assert TRAJECTORIES.names == list(Trajectory.model_fields)


def test_a_table_that_was_tampered_with_is_refused_on_reading():
    rows = to_table([trajectory()]).to_pylist()
    rows[0]["outcome"] = "excellent"
    with pytest.raises(ValidationError, match="outcome"):
        from_table(pa.Table.from_pylist(rows, schema=TRAJECTORIES))


@given(st.lists(st.tuples(st.integers(-1, 10**6), st.text(max_size=5), st.binary(max_size=20)), max_size=4))
def test_quarantine_keeps_raw_bytes_as_they_were(rows):
    bad = [BadRow(number, reason.encode("utf-8", "replace").decode(), raw) for number, reason, raw in rows]
    table = quarantine_table("file.json", bad)
    assert table.schema == QUARANTINE
    assert [(row["row"], row["raw"]) for row in table.to_pylist()] == [(entry.row, entry.raw) for entry in bad]


# -- content hash -----------------------------------------------------------------------------------------------------


@given(st.lists(trajectories(), max_size=5), st.integers(0, 5), st.integers(0, 5))
def test_a_table_s_hash_does_not_know_how_it_lies_in_memory(items, cut, skipped):
    table = to_table(items)
    chunked = pa.concat_tables([to_table(items[:cut]), to_table(items[cut:])])
    sliced = pa.concat_tables([to_table(items[:skipped]), table]).slice(len(items[:skipped]))
    taken = table.take(pa.array(range(len(items)), pa.int64()))
    assert {
        table_hash(one)
        for one in (table, chunked, sliced, taken, table.filter(pa.array([True] * len(items), pa.bool_())))
    } == {table_hash(table)}


@given(st.lists(trajectories(), max_size=3), st.lists(trajectories(), max_size=3))
def test_tables_have_equal_hashes_exactly_when_their_rows_are_equal(items, others):
    ours, theirs = to_table(items), to_table(others)
    assert (table_hash(ours) == table_hash(theirs)) == (ours.to_pylist() == theirs.to_pylist())


@given(trajectories(), st.data())
def test_any_changed_value_changes_the_hash(item, data):
    row = item.model_dump(mode="python")
    name = data.draw(st.sampled_from(["task", "reward", "trial", "started_at", "shown_memory", "steps"]))
    other = {
        "task": item.task + "x",
        "reward": 2.5,
        "trial": item.trial + 1,
        "started_at": None if item.started_at else item.ended_at,
        "shown_memory": (*item.shown_memory, ""),
        "steps": (*item.steps, step(len(item.steps))),
    }[name]
    changed = Trajectory(**{**row, name: other})
    assert (table_hash(to_table([changed])) == table_hash(to_table([item]))) == (changed == item)

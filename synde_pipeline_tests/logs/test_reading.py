"""Reading native files: broken ones are salvaged, the rest is quarantined with its bytes, nothing is lost."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.logs.documents import document_in, parse_json
from synde_pipeline.logs.importers.registry import importers
from synde_pipeline.logs.landing import file_import
from synde_pipeline.logs.reading import fixed_per_day, native_files, read_file, spread_over
from synde_pipeline_tests.sample_logs import SAMPLE, TAU, TAU2, tau_trial

RULE = spread_over()


def written(tmp_path, value, name="rows.json"):
    """A native file that holds a value's JSON, or these very bytes."""
    path = tmp_path / name
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode("utf-8"))
    return path


def row(**changes):
    """One good tau-bench trial, with some fields changed."""
    return tau_trial(0, 0) | changes


def without(field):
    return {key: value for key, value in row().items() if key != field}


# -- broken files ----------------------------------------------------------------------------------------------


@given(st.data())
def test_of_a_file_cut_anywhere_the_whole_rows_are_read_and_the_rest_is_kept(tmp_path, data):
    rows = [row(task_id=k, info={}, traj=row()["traj"][:2], note="ü☃" * 100) for k in range(3)]
    whole = json.dumps(rows, ensure_ascii=False).encode("utf-8")
    cut = len(whole) - data.draw(st.integers(1, len(whole) - 1))
    found = read_file(written(tmp_path, whole[:cut]), rule=RULE)
    ends = [len(json.dumps(rows[: k + 1], ensure_ascii=False).encode("utf-8")) - 1 for k in range(3)]
    assert [item.task_id for item in found.trajectories] == [f"tau:library:{k}" for k in range(3) if ends[k] <= cut]
    assert len(found.bad) == 1
    assert whole[:cut].endswith(found.bad[0].raw)
    if found.trajectories:
        assert "truncated or broken JSON" in found.bad[0].reason
    else:
        assert found.bad[0].raw == whole[:cut]


def test_what_follows_the_end_of_an_array_is_quarantined(tmp_path):
    found = read_file(written(tmp_path, json.dumps([row()]).encode() + b" trailing"), rule=RULE)
    assert len(found.trajectories) == 1
    assert found.bad[0].raw == b"] trailing"


def test_a_truncated_object_is_quarantined_whole(tmp_path):
    data = TAU2.read_bytes()[:5000]
    found = read_file(written(tmp_path, data))
    assert (found.trajectories, [bad.raw for bad in found.bad]) == ([], [data])
    assert "not JSON" in found.bad[0].reason


def test_objects_one_after_another_are_rows_and_what_breaks_off_is_kept():
    objects = "\n".join(json.dumps({"a": k}, indent=1) for k in range(3))
    found = document_in(objects.encode() + b'\n{\n "a":', is_json=True)
    assert (found.content, [bad.raw for bad in found.bad]) == ([{"a": 0}, {"a": 1}, {"a": 2}], [b'{\n "a":'])
    assert document_in(objects.encode(), is_json=False).bad == []
    alone = document_in(b'{\n "a": 1\n} and then', is_json=True)
    assert (alone.content, [bad.row for bad in alone.bad]) == (None, [0])


def test_nul_bytes_are_no_json_but_escaped_ones_are_text(tmp_path):
    found = read_file(written(tmp_path, b"\x00" * 50), rule=RULE)
    assert [bad.raw for bad in found.bad] == [b"\x00" * 50]
    messages = [{"role": "system", "content": "# Library agent policy"}, {"role": "user", "content": "a\x00b"}]
    assert read_file(written(tmp_path, [row(traj=messages)]), rule=RULE).trajectories[0].task == "a\x00b"


def test_a_row_with_bytes_that_are_no_text_is_quarantined_and_its_neighbours_are_read(tmp_path):
    data = json.dumps([row(), row(trial=1), row(trial=2)]).encode()
    at = data.index(b"Gladly", data.index(b"Gladly") + 1)
    found = read_file(written(tmp_path, data[:at] + b"\xff\xfe" + data[at:]), rule=RULE)
    assert [item.trial for item in found.trajectories] == [0, 2]
    assert [bad.row for bad in found.bad] == [1]


def test_a_lone_surrogate_costs_its_own_row_only(tmp_path):
    half = [*row()["traj"][:1], {"role": "user", "content": "half \ud83d"}]
    path = written(tmp_path, json.dumps([row(traj=half), row(trial=1)]).encode())
    found = read_file(path, rule=RULE)
    assert [item.trial for item in found.trajectories] == [1]
    assert b"half" in found.bad[0].raw


@pytest.mark.parametrize(
    "data",
    [b"[" * 200_000, b'[{"a": ' + b"9" * 5000 + b"}]", b"{", b"\xff\xff", b"[1, 2"],
    ids=["nested deeply", "a huge number", "one brace", "no text", "no rows of a log"],
)
def test_a_file_that_cannot_be_parsed_is_reported_and_never_raises(tmp_path, data):
    found = read_file(written(tmp_path, data), rule=RULE)
    assert found.trajectories == []
    assert found.skipped or [bad.raw for bad in found.bad] == [data]


def test_a_byte_order_mark_is_no_part_of_the_json(tmp_path):
    found = read_file(written(tmp_path, b"\xef\xbb\xbf" + TAU.read_bytes()), rule=RULE)
    assert len(found.trajectories) == len(read_file(TAU, rule=RULE).trajectories)


@pytest.mark.parametrize("data", [b"", b" \n\t "])
def test_an_empty_file_is_skipped_and_says_so(tmp_path, data):
    found = read_file(written(tmp_path, data))
    assert (found.skipped, found.trajectories, found.bad) == ("empty file", [], [])


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_as_json_is(text):
    try:
        document, tail = parse_json(text)
    except ValueError:
        return
    if tail is None:
        assert document == json.loads(text)
    else:
        assert text.encode("utf-8", "surrogatepass").endswith(tail)


# -- broken rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (without("reward"), "missing field 'reward'"),
        (without("traj"), "missing field 'traj'"),
        (without("task_id"), "missing field 'task_id'"),
        (row(reward="1.0"), "reward is '1.0'"),
        (row(reward=True), "reward is True"),
        (row(reward=2.0), "reward is 2.0"),
        (row(reward=float("nan")), "reward is nan"),
        (row(task_id=None), "task_id is None"),
        (row(task_id=[1]), "task_id is [1]"),
        (row(trial=float("inf")), "cannot convert"),
        (row(trial=2**40), "trial: Input should be less than"),
        (row(trial=-1), "trial: Input should be greater"),
        (row(traj=[]), "no user turn"),
        (row(traj=7), "not iterable"),
        (row(traj=["hello"]), "message is str"),
        (row(traj=[{"content": "no role"}]), "missing field 'role'"),
        (row(traj=[{"role": "user", "content": 7}]), "content is int"),
        (row(traj=[{"role": "user", "content": "hi"}]), "no domain"),
        ("a text", "row is str"),
        (None, "row is NoneType"),
    ],
)
def test_a_row_that_is_not_what_the_format_promises_is_quarantined_with_its_reason(tmp_path, bad, reason):
    found = read_file(written(tmp_path, [row(), bad, row(trial=1)]), rule=RULE)
    assert [item.trial for item in found.trajectories] == [0, 1]
    assert [entry.row for entry in found.bad] == [1]
    assert reason in found.bad[0].reason
    assert json.loads(found.bad[0].raw) == bad or reason == "reward is nan"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start_time": "yesterday"}, "isoformat"),
        ({"start_time": "0001-01-01T00:00:00+05:00"}, "out of range"),
        ({"start_time": [5]}, "expected an ISO 8601 text"),
        ({"reward_info": [1]}, "has no attribute"),
        ({"messages": None}, "not iterable"),
        ({"task_id": ""}, "task_id"),
    ],
)
def test_a_simulation_that_is_not_what_tau2_promises_is_quarantined(tmp_path, change, reason):
    document = json.loads(TAU2.read_text("utf-8"))
    document["simulations"][2] |= change
    found = read_file(written(tmp_path, document), rule=RULE)
    assert (len(found.trajectories), [bad.row for bad in found.bad]) == (11, [2])
    assert reason in found.bad[0].reason


@given(st.sampled_from([TAU, TAU2]), st.data())
def test_with_any_value_anywhere_every_row_is_read_or_quarantined(tmp_path, source, data):
    document = json.loads(source.read_text("utf-8"))
    rows = document if source == TAU else document["simulations"]
    k = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(st.sampled_from(sorted(rows[k])))
    junk = data.draw(st.sampled_from([None, "", "x", -1, 10**30, 1e400, [], {}, [{}], {"a": {}}, True]))
    rows[k][field] = junk
    found = read_file(written(tmp_path, document), rule=RULE)
    assert len(found.trajectories) + len(found.bad) == len(rows)


def test_a_very_long_observation_is_kept_whole(tmp_path):
    long = row()
    long["traj"][5] = long["traj"][5] | {"content": "shelf " * 15_000}
    found = read_file(written(tmp_path, [long]), rule=RULE)
    assert max(len(step.result) for step in found.trajectories[0].steps) == 90_000


# -- folders and paths -----------------------------------------------------------------------------------------


def test_in_a_folder_of_mixed_files_each_is_read_in_its_own_format_or_skipped_with_a_reason(tmp_path):
    written(tmp_path, TAU.read_bytes(), "b.json")
    (tmp_path / "deep").mkdir()
    written(tmp_path, TAU2.read_bytes(), "deep/a.json")
    written(tmp_path, b"# notes", "README.md")
    written(tmp_path, {"a": 1}, "c.json")
    written(tmp_path, b"secret", ".hidden")
    found = {path.name: read_file(path, rule=RULE) for path in native_files(tmp_path)}
    assert sorted(found) == ["README.md", "a.json", "b.json", "c.json"]
    assert {name: one.format for name, one in found.items() if one.format} == {
        "a.json": "tau2-bench",
        "b.json": "tau-bench",
    }
    assert found["README.md"].skipped.startswith("not JSON")
    assert "expected one of" in found["c.json"].skipped


def test_a_path_that_does_not_exist_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist; expected a log file or a folder"):
        native_files(tmp_path / "nowhere")


def test_the_file_order_does_not_depend_on_the_file_system(tmp_path):
    for name in ("b.json", "a.json", "a/z.json", "B.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path, [], name)
    assert native_files(tmp_path) == sorted(native_files(tmp_path))


def test_a_file_says_which_of_its_fields_go_no_further():
    assert read_file(TAU, rule=RULE).dropped == importers()["tau-bench"].dropped


# -- days ------------------------------------------------------------------------------------------------------


def test_undated_rows_without_a_rule_are_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"11 trajectories carry no time.*--start-day"):
        read_file(TAU)


def test_dated_rows_need_no_rule_and_ignore_one():
    assert read_file(TAU2).trajectories == read_file(TAU2, rule=fixed_per_day(date(2024, 1, 1), 1)).trajectories
    assert read_file(TAU2).n_undated == 0


@given(st.integers(1, 400), st.integers(1, 30))
def test_spreading_uses_every_day_it_can_in_order_and_evenly(n_rows, days):
    rule = spread_over(date(2025, 1, 14), days)
    given_days = [rule(k, n_rows) for k in range(n_rows)]
    assert given_days == sorted(given_days)
    assert len(set(given_days)) == min(days, n_rows)
    counts = [given_days.count(day) for day in set(given_days)]
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 60), st.integers(1, 20))
def test_a_fixed_number_a_day_fills_each_day_before_the_next(n_rows, per_day):
    rule = fixed_per_day(date(2025, 2, 1), per_day)
    given_days = [rule(k, n_rows) for k in range(n_rows)]
    assert given_days == sorted(given_days)
    assert all(given_days.count(day) == per_day for day in set(given_days) - {given_days[-1]})


def test_the_sample_fills_two_weeks_that_end_where_the_rule_says():
    days = sorted({item.day for item in read_file(SAMPLE, rule=RULE).trajectories})
    assert (days[0], days[-1], len(days)) == (date(2025, 1, 1), date(2025, 1, 14), 14)


def test_a_rule_that_leaves_the_calendar_costs_its_rows_and_no_more(tmp_path):
    found = read_file(written(tmp_path, [row(), row(trial=1)]), rule=fixed_per_day(date.max, 1))
    assert (len(found.trajectories), len(found.bad)) == (1, 1)


def test_a_file_that_goes_or_cannot_be_read_before_its_rows_are_filed_costs_nothing(tmp_path, warehouse):
    path = tmp_path / "runs.json"
    path.write_bytes(TAU2.read_bytes())
    found = read_file(path)
    path.unlink()
    assert file_import(warehouse, found, date(2020, 1, 1), date(2030, 1, 1)).n_new == len(found.trajectories) > 0
    gone = read_file(path)
    assert "cannot be read" in gone.skipped
    assert file_import(warehouse, gone, date(2020, 1, 1), date(2030, 1, 1)).bad == []

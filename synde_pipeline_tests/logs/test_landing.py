"""Landing: importing twice changes nothing, every row is accounted for (law 5), and no file name or order matters."""

from datetime import date, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.logs.daily import load_all, load_raw_logs, publish_raw_logs
from synde_pipeline.logs.landing import earlier_uids, file_import, landing_days
from synde_pipeline.logs.reading import fixed_per_day, read_file, spread_over
from synde_pipeline.logs.validate import landing_hash, read_day, validate_day
from synde_pipeline.records import Trajectory
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import DAY, land, step, times, trajectories, trajectory
from synde_pipeline_tests.sample_logs import SAMPLE, TAU, TAU2

START, TODAY = date(2023, 1, 1), date(2025, 6, 1)
NEXT = DAY + timedelta(days=1)


def imported(warehouse, path, rule=None):
    return file_import(warehouse, read_file(path, rule=rule or spread_over()), START, TODAY)


def line(item: Trajectory) -> bytes:
    return item.model_dump_json().encode("utf-8")


def dropped_in(warehouse, data: bytes, day=DAY, name="foreign") -> Path:
    """A landing file as another program would write it."""
    path = warehouse.path("landing", str(day)) / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def published(warehouse) -> dict[date, list[Trajectory]]:
    for day in landing_days(warehouse):
        publish_raw_logs(warehouse, day)
    return {day: load_raw_logs(warehouse, day) for day in landing_days(warehouse)}


# -- filing native files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SAMPLE, TAU, TAU2], ids=lambda path: path.name)
def test_importing_a_file_twice_changes_nothing_byte_for_byte(warehouse, path):
    first = imported(warehouse, path)
    before = contents(warehouse.root)
    second = imported(warehouse, path)
    assert contents(warehouse.root) == before
    assert (second.n_new, second.n_duplicates) == (0, first.n_new)


def test_the_same_file_under_another_name_is_a_duplicate(warehouse, tmp_path):
    imported(warehouse, SAMPLE)
    copy = tmp_path / "copy.json"
    copy.write_bytes(SAMPLE.read_bytes())
    assert imported(warehouse, copy).n_new == 0


def test_every_native_row_is_new_a_duplicate_or_in_quarantine(warehouse):
    filed = imported(warehouse, TAU)
    assert (filed.n_new, filed.n_duplicates, len(filed.bad)) == (11, 0, 1)
    keys = warehouse.keys("landing/quarantine")
    rows = warehouse.read_table("landing/quarantine", keys[0]).to_pylist()
    assert [(row["file"], row["row"]) for row in rows] == [("tau-library.json", 4)]
    assert b'"traj":[]' in rows[0]["raw"]


def test_equal_rows_within_one_native_file_are_counted_once(warehouse, tmp_path):
    path = tmp_path / "twice.json"
    text = SAMPLE.read_text("utf-8").splitlines()
    path.write_text("\n".join(["[", text[1], text[1].rstrip(","), "]"]), "utf-8")
    filed = imported(warehouse, path, fixed_per_day(DAY, 10))
    assert (filed.n_new, filed.n_duplicates) == (1, 1)
    assert read_day(warehouse, DAY).counts["rows_out"] == 1


def test_rows_outside_the_window_of_days_are_quarantined_with_the_remedy(warehouse):
    filed = imported(warehouse, SAMPLE, fixed_per_day(date(2022, 12, 31), 60))
    assert filed.n_new == 120
    assert len(filed.bad) == 60
    assert all("SYNDE_START_DAY" in bad.reason for bad in filed.bad)


def test_importing_again_with_a_better_day_rule_loses_nothing_and_clears_the_quarantine(warehouse):
    imported(warehouse, SAMPLE, fixed_per_day(date(2022, 12, 31), 60))
    assert imported(warehouse, SAMPLE, fixed_per_day(date(2023, 1, 1), 60)).bad == []
    kept = [item for items in published(warehouse).values() for item in items]
    assert len({item.trace_uid for item in kept}) == len(kept) == 180
    assert warehouse.read_table("landing/quarantine", warehouse.keys("landing/quarantine")[0]).num_rows == 0


def test_a_file_whose_rows_lie_on_another_day_already_adds_nothing(warehouse):
    imported(warehouse, SAMPLE, fixed_per_day(date(2025, 1, 1), 30))
    before = published(warehouse)
    imported(warehouse, SAMPLE, fixed_per_day(date(2025, 2, 1), 30))
    after = published(warehouse)
    assert {day: items for day, items in after.items() if items} == before


@pytest.mark.parametrize("path", [SAMPLE, TAU], ids=lambda path: path.name)
def test_landing_and_quarantine_are_closed_to_others(warehouse, path):
    imported(warehouse, path)
    dropped_in(warehouse, b"garbage\n", date(2025, 1, 1))
    publish_raw_logs(warehouse, date(2025, 1, 1))
    for name in ("landing", "quarantine"):
        assert (warehouse.root / name).stat().st_mode & 0o777 == 0o700


# -- law 5 -----------------------------------------------------------------------------------------------------

some_rows = trajectories(
    days=st.sampled_from([DAY, DAY, DAY, NEXT]), uids=st.sampled_from([f"test:{k}" for k in "abc"])
)
garbage = st.sampled_from([b"{", b"null", b"[]", b"\xff\xfe", b'{"trace_uid": "x"}', b"\x00", b"\r", b"1e999"])
lines = st.lists(some_rows.map(line) | garbage | st.just(b"") | st.just(b"  "), max_size=6)


@st.composite
def landing_files(draw) -> list[bytes]:
    """Files of lines, some repeated across files, some without an end."""
    files = [draw(lines) for _ in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        files.append(list(files[0]))
    return [b"".join(row + b"\n" for row in rows) + draw(st.sampled_from([b"", b"", b'{"half'])) for rows in files]


earlier_contents = st.lists(trajectories(uids=st.sampled_from(["test:a", "test:b"])), max_size=2)


def n_rows(data: bytes) -> int:
    return sum(bool(row.strip()) for row in data.split(b"\n"))


@given(landing_files(), earlier_contents)
def test_every_row_comes_out_or_is_counted(warehouse, files, earlier):
    land(warehouse, [item.model_copy(update={"day": date(2024, 5, 5)}) for item in earlier])
    found = validate_day(map(BytesIO, files), DAY, earlier_uids(warehouse, DAY))
    counts = found.counts
    assert counts["rows_in"] == sum(map(n_rows, files))
    parts = ("rows_out", "duplicates", "superseded", "quarantined", "pending")
    assert counts["rows_in"] == sum(counts[name] for name in parts)
    assert counts["pending"] == sum(data.endswith(b'{"half') for data in files)
    raw = {row for data in files for row in data.split(b"\n")}
    assert all(bad.raw in raw and bad.reason for bad in found.quarantined)
    uids = [item.trace_uid for item in found.kept]
    assert uids == sorted(set(uids))


@given(landing_files(), st.randoms(use_true_random=False))
def test_neither_the_order_of_files_nor_of_their_lines_changes_the_day(files, chance):
    shuffled = []
    for data in chance.sample(files, len(files)):
        *whole, tail = data.split(b"\n")
        chance.shuffle(whole)
        shuffled.append(b"\n".join([*whole, tail]))
    one, other = validate_day(map(BytesIO, files), DAY, {}), validate_day(map(BytesIO, shuffled), DAY, {})
    assert (one.kept, one.superseded, one.counts) == (other.kept, other.superseded, other.counts)
    assert [(bad.raw, bad.reason) for bad in one.quarantined] == [(bad.raw, bad.reason) for bad in other.quarantined]


@given(st.lists(trajectories(uids=st.just("test:a")), min_size=1, max_size=5))
def test_of_differing_contents_the_latest_end_wins_then_the_larger_hash(items):
    found = validate_day([BytesIO(b"".join(line(item) + b"\n" for item in items))], DAY, {})
    latest = max((item.ended_at for item in items if item.ended_at), default=None)
    candidates = [item for item in items if item.ended_at == latest]
    assert found.kept == [max(candidates, key=lambda item: item.content_hash)]
    assert len(found.superseded) == len({item.content_hash for item in items}) - 1


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.none() | times), max_size=12))
def test_however_rows_are_spread_over_days_each_uid_is_kept_once_on_its_first_day(tmp_path_factory, rows):
    warehouse = Warehouse(tmp_path_factory.mktemp("spread"))
    items = [
        trajectory(f"test:{uid}", day=DAY + timedelta(days=shift), ended_at=end, task=f"t{uid}")
        for shift, uid, end in rows
    ]
    land(warehouse, items)
    kept = [item for items_of_day in published(warehouse).values() for item in items_of_day]
    assert len(kept) == len({item.trace_uid for item in kept})
    first = {uid: min(item.day for item in items if item.trace_uid == uid) for uid in {i.trace_uid for i in items}}
    assert {item.trace_uid: item.day for item in kept} == first


def test_file_names_do_not_change_the_published_day(tmp_path):
    hashes = set()
    for names in (("a", "b"), ("y", "x")):
        warehouse = Warehouse(tmp_path / names[0])
        dropped_in(warehouse, line(trajectory("test:1")) + b"\nbad\n", name=names[0])
        dropped_in(warehouse, line(trajectory("test:1", task="t2")) + b"\nworse\n", name=names[1])
        publish_raw_logs(warehouse, DAY)
        headers = [warehouse.header(name, str(DAY)) for name in ("raw_logs", "superseded", "quarantine")]
        hashes.add(tuple(header.content_hash for header in headers))
    assert len(hashes) == 1


# -- one uid on several days -------------------------------------------------------------------------------------


def test_the_same_content_on_a_later_day_is_a_duplicate_and_another_content_is_superseded(warehouse):
    first = trajectory("test:1")
    later = [first.model_copy(update={"day": NEXT}), trajectory("test:1", day=NEXT, reward=0.5)]
    land(warehouse, [first, *later])
    assert read_day(warehouse, DAY).kept == [first]
    found = read_day(warehouse, NEXT)
    assert (found.kept, found.n_duplicates, found.superseded) == ([], 1, [later[1]])


def test_a_content_that_lost_on_an_earlier_day_is_a_duplicate_later_whatever_the_file_names(warehouse):
    winner, loser = trajectory("test:1", ended_at="2025-01-03T10:00:00"), trajectory("test:1")
    dropped_in(warehouse, line(winner) + b"\n", name="a")
    dropped_in(warehouse, line(loser) + b"\n", name="b")
    again = [item.model_copy(update={"day": NEXT}) for item in (winner, loser)]
    dropped_in(warehouse, b"".join(line(item) + b"\n" for item in again), NEXT)
    assert read_day(warehouse, NEXT).counts["duplicates"] == 2


def test_a_row_in_the_wrong_days_folder_does_not_hide_its_copy_in_the_right_one(warehouse):
    item = trajectory("test:1", day=NEXT)
    dropped_in(warehouse, line(item) + b"\n", DAY)
    dropped_in(warehouse, line(item) + b"\n", NEXT)
    assert "says day 2025-01-04" in read_day(warehouse, DAY).quarantined[0].reason
    assert read_day(warehouse, NEXT).kept == [item]


# -- files of other programs -------------------------------------------------------------------------------------


def test_a_file_of_another_program_is_indexed_and_noticed_again_when_it_grows(warehouse):
    path = dropped_in(warehouse, line(trajectory("test:1")) + b"\n")
    before = landing_hash(warehouse, DAY)
    assert len(earlier_uids(warehouse, NEXT)) == 1
    with path.open("ab") as file:
        file.write(line(trajectory("test:2", task="t2")) + b"\n")
    assert len(earlier_uids(warehouse, NEXT)) == 2
    assert landing_hash(warehouse, DAY) != before


def test_a_corrected_label_of_equal_length_is_noticed(warehouse):
    path = dropped_in(warehouse, line(trajectory("test:1")) + b"\n")
    before = landing_hash(warehouse, DAY)
    path.write_bytes(path.read_bytes().replace(b'"success"', b'"failure"', 1))
    assert landing_hash(warehouse, DAY) != before


def test_a_row_counts_once_its_line_has_an_end(warehouse):
    path = dropped_in(warehouse, line(trajectory("test:1")))
    assert read_day(warehouse, DAY).counts["pending"] == 1
    assert earlier_uids(warehouse, NEXT) == {}
    path.write_bytes(path.read_bytes() + b"\n")
    assert read_day(warehouse, DAY).counts["rows_out"] == 1


def test_a_row_with_a_time_beyond_the_calendar_is_quarantined_and_the_day_goes_on(warehouse):
    odd = line(trajectory("test:1")).replace(b'"ended_at":null', b'"ended_at":"0001-01-01T00:00:00+05:00"')
    dropped_in(warehouse, odd + b"\n" + line(trajectory("test:2")) + b"\n")
    assert read_day(warehouse, DAY).counts["quarantined"] == 1
    assert len(published(warehouse)[DAY]) == 1


def test_a_folder_that_is_named_by_no_day_is_an_error_that_says_so(warehouse):
    dropped_in(warehouse, b"", DAY)
    (warehouse.root / "landing" / f"day={DAY}").rename(warehouse.root / "landing" / "day=2025-1-3")
    with pytest.raises(InputError, match="expected day=YYYY-MM-DD"):
        landing_days(warehouse)


def test_secrets_are_redacted_in_what_is_kept_and_in_what_is_superseded(warehouse):
    key = "sk-" + "a1B2" * 8
    items = [trajectory("test:1", task=f"t{k}", steps=(step(arguments=f"use {key}"),)) for k in range(2)]
    dropped_in(warehouse, b"".join(line(item) + b"\n" for item in items))
    publish_raw_logs(warehouse, DAY)
    stored = str([warehouse.read_table(name, str(DAY)).to_pylist() for name in ("raw_logs", "superseded")])
    assert key not in stored
    assert stored.count("<API_KEY_1>") == 2
    assert read_day(warehouse, DAY).counts["redacted_api_key"] == 1


def test_all_days_are_loaded_in_day_order(warehouse):
    land(warehouse, [trajectory("test:2", day=NEXT), trajectory("test:1")])
    published(warehouse)
    assert [item.trace_uid for item in load_all(warehouse)] == ["test:1", "test:2"]

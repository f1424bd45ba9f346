"""Long files are read block by block: the result is that of reading them whole, and memory does not grow with them."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.documents import LIMITS, Limits
from synde_pipeline.logs.landing import file_import
from synde_pipeline.logs.reading import fixed_per_day, read_file, read_files, spread_over
from synde_pipeline_tests.helpers import synde_json
from synde_pipeline_tests.logs.test_langfuse import OBSERVATIONS

RULE = fixed_per_day(date(2025, 1, 1), 3)
START, TODAY = date(2020, 1, 1), date(2030, 1, 1)


def chat(k: int, **more) -> bytes:
    """A line that one run is made of."""
    said = [{"role": "user", "content": f"task {k}"}, {"role": "assistant", "content": "ü" * (k % 7)}]
    return json.dumps({"id": f"run-{k}", "messages": said, **more}, ensure_ascii=False).encode()


def lines(n: int) -> bytes:
    return b"".join(chat(k) + b"\n" for k in range(n))


@pytest.fixture
def written(tmp_path):
    """Writes a file, packed where its name says so."""

    def write(data: bytes, name: str = "runs.jsonl"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


LINE = st.one_of(
    st.integers(0, 30).map(chat),
    st.sampled_from([b"", b"  ", b"{", b'{"messages": 7}', b"7", b"\xff\xfe", b'{"id": "\xff"}', b"\xef\xbb\xbf{}"]),
)


@given(
    st.lists(LINE, max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from(["runs.jsonl", "runs.jsonl.gz"]),
    st.integers(1, 1500),
)
def test_a_file_in_blocks_gives_what_it_gives_whole(written, more, end, is_ended, name, block):
    path = written(end.join([*(chat(90 + k) for k in range(12)), *more]) + end * is_ended, name)
    whole = read_file(path, rule=RULE)
    found = read_file(path, rule=RULE, limits=Limits(block=block))
    assert found.trajectories == whole.trajectories
    assert sorted(map(repr, found.bad)) == sorted(map(repr, whole.bad))
    assert (found.n_undated, found.unknown, found.format) == (whole.n_undated, whole.unknown, whole.format)


@pytest.mark.parametrize("block", [1, 900, 2000])
def test_a_trace_that_lies_in_several_blocks_is_one_run(written, block):
    path = written(b"".join(json.dumps(row).encode() + b"\n" for row in OBSERVATIONS))
    found = read_file(path, limits=Limits(block=block))
    assert (found.trajectories, found.bad, found.skipped) == (read_file(path).trajectories, [], "")
    assert len(found.trajectories) == 1


def test_a_log_is_read_behind_blocks_of_something_else(written):
    path = written(b'{"a": 1}\n' * 200 + lines(9))
    assert len(read_file(path, rule=RULE, limits=Limits(block=300)).trajectories) == 9


def test_rows_of_a_long_file_are_spread_over_all_of_it(written):
    path = written(lines(28))
    in_blocks = read_file(path, rule=spread_over(), limits=Limits(block=300))
    assert in_blocks.trajectories == read_file(path, rule=spread_over()).trajectories


def filed(warehouse, path, limits):
    """Import a file; returns how many runs were new, and all of landing."""
    n = sum(file_import(warehouse, block, START, TODAY).n_new for block in read_files([path], rule=RULE, limits=limits))
    return n, {file: file.read_bytes() for file in (warehouse.root / "landing").rglob("*") if file.is_file()}


def test_a_long_file_that_grew_adds_only_what_is_new(written, warehouse):
    limits = Limits(block=300)
    n, before = filed(warehouse, written(lines(10) + b"{broken\n"), limits)
    assert (n, filed(warehouse, written(lines(10) + b"{broken\n"), limits)) == (10, (0, before))
    n, after = filed(warehouse, written(lines(10) + b"{broken\n" + chat(10) + b"\n"), limits)
    assert n == 1
    assert before.items() <= after.items()


def test_a_block_is_filed_before_the_next_one_is_read(written, warehouse):
    path = written(lines(30))
    blocks = read_files([path], rule=RULE, limits=Limits(block=300))
    file_import(warehouse, next(blocks), START, TODAY)
    assert any((warehouse.root / "landing").rglob("*.jsonl"))
    path.write_bytes(b"")  # what is read already stays, and what is not is gone without an error
    assert sum(len(block.trajectories) for block in blocks) < 30


# -- what is too long --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [LIMITS.block, 4000, 100], ids=["whole", "in two", "in many"])
@pytest.mark.parametrize("name", ["runs.jsonl", "runs.jsonl.gz"])
@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_line_that_is_too_long_is_kept_by_reference_and_the_rest_is_read(written, block, name, at):
    rows = [chat(k) for k in range(10)]
    rows[at] = chat(at, notes="x" * 5000)
    data = b"\r\n".join(rows)
    found = read_file(written(data, name), rule=RULE, limits=Limits(block=block, line=2000))
    assert [one.task for one in found.trajectories] == [f"task {k}" for k in range(10) if k != at]
    (bad,) = found.bad
    where = json.loads(bad.raw)
    raw = data[where["offset"] : where["offset"] + where["length"]]
    assert (bad.row, raw.rstrip(b"\r"), hashlib.sha256(raw).hexdigest()) == (at, rows[at], where["sha256"])
    assert where["file"].endswith(name)
    assert "SYNDE_MAX_LINE_MB" in bad.reason


def test_two_blocks_of_lines_that_are_too_long_are_both_in_quarantine(written, warehouse):
    path = written(b"".join(chat(k, notes="x" * 900) + b"\n" for k in range(3)))
    filed(warehouse, path, Limits(block=50, line=100))
    keys = warehouse.keys("landing/quarantine")
    tables = [warehouse.read_table("landing/quarantine", key).to_pylist() for key in keys]
    assert sorted(row["row"] for table in tables for row in table) == [0, 1, 2]


def test_the_limit_of_a_line_is_a_setting(written, tmp_path):
    path = written(chat(0) + b"\n" + chat(1, notes="x" * 2**20) + b"\n")
    rule = ("--start-day", "2025-01-01", "--per-day", "9")
    found = synde_json("import", str(path), *rule, home=tmp_path / "a", SYNDE_MAX_LINE_MB="1")
    assert (found["trajectories"], found["quarantined"]) == (1, 1)
    assert synde_json("import", str(path), *rule, home=tmp_path / "b")["trajectories"] == 2


@pytest.mark.parametrize(
    "data",
    [json.dumps([json.loads(chat(k)) for k in range(20)], indent=1).encode(), chat(0, notes="x" * 3000), b"PK\x03\x04"],
    ids=["an array", "an object", "an archive"],
)
@pytest.mark.parametrize("line", [600, 6000])
def test_a_long_file_that_is_one_document_is_read_whole_or_refused(written, data, line):
    path = written(data.ljust(1500, b" "))
    found = read_file(path, rule=RULE, limits=Limits(block=500, line=line, whole=1000))
    assert (found.trajectories, found.bad) == ([], [])
    assert "expected 1000 bytes at most; split it, or write it as JSON lines" in found.skipped
    whole = read_file(path, rule=RULE)
    again = read_file(path, rule=RULE, limits=Limits(block=500, line=line))
    assert (again.trajectories, again.bad, again.skipped) == (whole.trajectories, whole.bad, whole.skipped)


def test_what_cannot_be_unpacked_of_a_long_file_is_said_and_the_blocks_before_are_read(written):
    data = b"".join(chat(k, notes=hashlib.sha512(b"%d" % k).hexdigest() * 40) + b"\n" for k in range(900))
    packed = gzip.compress(data)
    path = written(b"", "runs.jsonl")
    path.write_bytes(packed[: len(packed) // 2])
    found = read_file(path, rule=RULE, limits=Limits(block=2**14, line=2**14))
    assert 100 < len(found.trajectories) < 900
    assert "cannot be read from here on" in found.bad[0].reason
    assert found.bad[0].row == len(found.trajectories)


def test_a_gzip_of_lines_that_unpacks_to_too_much_stops(written):
    path = written(chat(0) + b"\n" + (chat(1) + b" " * 10_000 + b"\n") * 2000, "bomb.jsonl.gz")
    found = read_file(path, rule=RULE, limits=Limits(block=2**20))
    assert "unpacks to more than" in found.bad[-1].reason
    assert {one.task for one in found.trajectories} == {"task 0", "task 1"}


# -- memory ------------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from pathlib import Path
from synde_pipeline.cli_import import imported
found = imported([Path(sys.argv[1])])
print(found["trajectories"], found["quarantined"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def measured(path, home) -> list[int]:
    """Runs, quarantined rows and peak memory (MB) of an import in a process of its own."""
    command = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(command, env=os.environ | {"SYNDE_HOME": str(home)}, capture_output=True, check=True)
    return [int(word) for word in done.stdout.split()]


def long_file(path, n_bytes: int) -> int:
    """Chats with long answers; returns how many."""
    n = n_bytes // 50_000
    with path.open("wb") as file:
        for k in range(n):
            said = [{"role": "user", "content": f"task {k}"}, {"role": "assistant", "content": f"{k:07} " * 6240}]
            file.write(json.dumps({"id": f"{k}", "created": 1_740_000_000 + k, "messages": said}).encode() + b"\n")
    return n


@pytest.mark.slow
def test_peak_memory_is_the_same_for_a_file_four_times_as_long(tmp_path):
    peaks = []
    for size in (300, 1200):
        n = long_file(tmp_path / "runs.jsonl", size * 10**6)
        n_runs, n_bad, peak = measured(tmp_path / "runs.jsonl", tmp_path / f"home-{size}")
        assert (n_runs, n_bad) == (n, 0)
        peaks.append(peak)
    assert peaks[1] < 1.3 * peaks[0], peaks


@pytest.mark.slow
def test_a_line_of_a_gigabyte_takes_no_more_memory_than_short_ones(tmp_path):
    path = tmp_path / "runs.jsonl"
    n = long_file(path, 130 * 10**6)
    _, _, usual = measured(path, tmp_path / "usual")
    with path.open("ab") as file:
        file.write(b'{"messages": "')
        file.truncate(file.tell() + 10**9)  # a hole: NUL bytes, and no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b'"}\n' + chat(n, created=1_740_000_000) + b"\n")
    n_runs, n_bad, peak = measured(path, tmp_path / "long")
    assert (n_runs, n_bad) == (n + 1, 1)
    assert peak < 1.3 * usual, (usual, peak)

"""Input that somebody broke, or made to break us: it costs itself, is named with its reason, and nothing else."""

import gzip
import io
import json
import os
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.logs.landing import file_import
from synde_pipeline.logs.reading import native_files, read_file, read_files, spread_over
from synde_pipeline_tests.logs.test_chat_logs import CHAT
from synde_pipeline_tests.logs.test_inspect_ai import HEAD, SAMPLE

RULE = spread_over()
GOOD = json.dumps(CHAT).encode()


def read(tmp_path: Path, data: bytes, name: str = "log.jsonl"):
    (tmp_path / name).write_bytes(data)
    return read_file(tmp_path / name, rule=RULE)


def packed(**members: bytes) -> bytes:
    """A zip of members by name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return data.getvalue()


# -- archives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil.json", "a/../../evil.json", "..\\evil.json", "C:evil.json"]
)
def test_a_zip_with_a_path_that_leads_out_of_it_is_refused_whole(tmp_path, name):
    data = packed(**{"header.json": json.dumps(HEAD).encode(), name: b"{}"})
    found = read(tmp_path, data, "log.eval")
    assert (found.trajectories, [bad.raw for bad in found.bad]) == ([], [data])
    assert "leads out of it" in found.bad[0].reason
    assert [path.name for path in tmp_path.iterdir()] == ["log.eval"]


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path):
    found = read(tmp_path, packed(**{"header.json": b" " * 2**25}), "log.eval")
    assert "says it unpacks to 33554432" in found.bad[0].reason


def test_a_member_that_is_longer_than_the_zip_says_costs_itself(tmp_path):
    sample = json.dumps(SAMPLE).encode()
    data = packed(**{"header.json": json.dumps(HEAD).encode(), "samples/1_epoch_2.json": sample})
    size = len(sample).to_bytes(4, "little")
    found = read(tmp_path, data.replace(size, (99).to_bytes(4, "little")), "log.eval")
    assert found.trajectories == []
    assert "cannot be read" in found.bad[0].reason or "longer than it says" in found.bad[0].reason


@pytest.mark.parametrize("data", [b" " * 2**25, b"x" * 2**25, b'{"a":1}\n' * 2**22], ids=["blanks", "text", "lines"])
def test_a_gzip_that_unpacks_to_too_much_is_refused_with_its_bytes(tmp_path, data):
    bomb = gzip.compress(data)
    found = read(tmp_path, bomb, "log.jsonl.gz")
    assert (found.trajectories, [bad.raw for bad in found.bad]) == ([], [bomb])
    assert "unpacks to more than" in found.bad[0].reason


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: packed(**{"a.jsonl": data})], ids=["gzip", "zip"])
def test_what_is_packed_twice_is_no_log(tmp_path, pack):
    found = read(tmp_path, gzip.compress(pack(GOOD + b"\n")), "log.jsonl.gz")
    assert found.trajectories == []
    assert found.bad or found.skipped


# -- texts and numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b'{"messages": ' + b"[" * 100_000,
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"messages": [], "created": ' + b"9" * 5000 + b"}",
        GOOD.replace(b"Water bed 3.", b"Wasser f\xfcr Beet 3."),
        GOOD.replace(b"Water bed 3.", b"\\ud83d"),
        GOOD.replace(b"Water bed 3.", b"\0"),
        GOOD.replace(b'"weight": 1', b'"created": NaN'),
        GOOD.replace(b'"weight": 1', b'"created": -Infinity'),
        GOOD.replace(b'"weight": 1', b'"created": 1e999'),
        GOOD.replace(b'"weight": 1', b'"created": "31/12/2025"'),
        b"\0" * 1000,
    ],
    ids=lambda line: f"{line[:13]}-{len(line)}",
)
def test_a_line_that_cannot_be_a_run_costs_itself_only(tmp_path, line):
    found = read(tmp_path, b"\n".join([GOOD, line, GOOD]))
    assert (len(found.trajectories), [bad.row for bad in found.bad]) == (2, [1])
    assert found.bad[0].reason


def test_of_a_key_that_comes_twice_the_last_value_counts(tmp_path):
    twice = GOOD[:-1] + b', "messages": [{"role": "user", "content": "Rake."}]}'
    assert [run.task for run in read(tmp_path, twice + b"\n" + GOOD).trajectories] == ["Rake.", "Water bed 3."]


def test_line_ends_and_byte_order_marks_of_others_are_no_content(tmp_path):
    mark = b"\xef\xbb\xbf"
    runs = read(tmp_path, GOOD + b"\n" + GOOD).trajectories
    assert read(tmp_path, mark + GOOD + b"\r\n\r\n" + mark + GOOD + b"\r\n").trajectories == runs


@pytest.mark.parametrize(
    ("said", "at"),
    [
        (1_740_000_000, (2025, 2, 19, 21, 20)),
        (1_740_000_000_000, (2025, 2, 19, 21, 20)),
        (1_740_000_000_000_000, (2025, 2, 19, 21, 20)),
        (1_740_000_000_000_000_000, (2025, 2, 19, 21, 20)),
        ("1740000000", (2025, 2, 19, 21, 20)),
        ("2025-02-19T21:20:00", (2025, 2, 19, 21, 20)),
        ("2025-02-20T02:50:00+05:30", (2025, 2, 19, 21, 20)),
        ("1969-12-31T23:00:00Z", (1969, 12, 31, 23, 0)),
        (-3600, (1969, 12, 31, 23, 0)),
        ("2101-01-01T00:00:00Z", (2101, 1, 1)),
        (4_133_980_800, (2101, 1, 1)),
    ],
)
def test_a_time_in_any_unit_is_that_time_and_days_far_away_are_quarantined_when_filed(tmp_path, warehouse, said, at):
    found = read(tmp_path, json.dumps(CHAT | {"created": said}).encode())
    (run,) = found.trajectories
    assert run.started_at == datetime(*at, tzinfo=UTC)
    filed = file_import(warehouse, found, date(2023, 1, 1), date(2025, 6, 1))
    assert (filed.n_new, len(filed.bad)) == ((1, 0) if run.day.year == 2025 else (0, 1))


# -- files -------------------------------------------------------------------------------------------------------------


def test_what_is_no_file_in_a_folder_is_passed_over_and_links_are_followed(tmp_path):
    folder, outside = tmp_path / "logs", tmp_path / "outside.jsonl"
    (folder / "folder.jsonl").mkdir(parents=True)
    outside.write_bytes(GOOD)
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "link.jsonl").symlink_to(outside)
    (folder / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (folder / "round.jsonl").symlink_to(folder / "round.jsonl")
    (folder / "up").symlink_to(tmp_path)
    found = list(read_files(native_files(folder), rule=RULE))
    assert [(one.path.name, len(one.trajectories)) for one in found] == [("link.jsonl", 1)]


def test_a_pipe_is_no_log_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match=r"is no file and no folder; expected a log file or a folder"):
        native_files(tmp_path / "pipe.jsonl")
    # It may also take the place of a file between the look at its folder and the reading.
    assert "no regular file" in read_file(tmp_path / "pipe.jsonl").skipped


def test_a_file_that_cannot_be_read_is_named_and_costs_no_other_one(tmp_path):
    paths = [tmp_path / "gone.jsonl", tmp_path / "good.jsonl", tmp_path]
    paths[1].write_bytes(GOOD)
    gone, good, folder = read_files(paths, rule=RULE)
    assert (gone.skipped, len(good.trajectories)) == ("cannot be read: No such file or directory", 1)
    assert folder.skipped.startswith("cannot be read: ")
    assert [*gone.trajectories, *gone.bad, *folder.trajectories, *folder.bad] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_file_that_is_closed_to_us_says_so(tmp_path):
    path = tmp_path / "closed.jsonl"
    path.write_bytes(GOOD)
    path.chmod(0)
    assert read_file(path).skipped == "cannot be read: Permission denied"

"""`synde bench ingest`: all read the same files, and those that set bad lines aside set aside the same ones."""

import json
import sys
from pathlib import Path

import pytest

from synde_pipeline.logs.columns import rows_of_lines
from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.rows import parse_line
from synde_pipeline.studies.bench.contest import contest
from synde_pipeline.studies.bench.ingest import contestants, write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingest")
    return folder, write_files(folder, 20_000_000)


def test_exactly_the_lines_that_are_said_to_be_bad_are(files):
    folder, work = files
    bad = json.loads((folder / "dirty.json").read_text("utf-8"))
    lines = (folder / "dirty.jsonl").read_bytes().splitlines()
    assert work["bad_lines"] == len(bad) >= 4
    assert [k for k, line in enumerate(lines) if isinstance(parse_line(line), BadRow)] == bad
    assert not any(isinstance(parse_line(line), BadRow) for line in (folder / "clean.jsonl").read_bytes().splitlines())
    assert sorted(row.row for row in rows_of_lines(lines).bad) == bad


@pytest.mark.slow
def test_contestants_keep_what_they_say(files):
    # The peers that our own environment happens to hold stand in for those of .venv-bench.
    folder, work = files
    rounds = {entry.contestant.name: entry.rounds for entry in contest(contestants(folder), 1, Path(sys.executable))}
    facts = {name: rounds[name][0].facts for name in rounds if rounds[name]}
    n_rows, n_bad = work["trajectories"], work["bad_lines"]
    exact = {"kept": n_rows - n_bad, "aside": n_bad, "wrong": 0}
    assert facts["ours_dirty"] == facts["pydantic_dirty"] == exact
    assert facts["ours_day_dirty"] == {"kept": n_rows - n_bad, "aside": n_bad}
    whole = {"kept": n_rows, "aside": 0, "wrong": 0}
    assert facts["ours_clean"] == facts["duckdb_clean"] == facts["pydantic_clean"] == facts["pandas_clean"] == whole
    assert facts["ours_tenfold"] == {"kept": 10 * n_rows, "aside": 0, "wrong": 0}
    assert facts["duckdb_dirty"] == {"kept": n_rows, "aside": 0, "wrong": n_bad}  # NULLs where a line was bad
    assert facts["pandas_dirty"]["stopped"] == "ValueError"

"""The column engine reads lines exactly as the record itself reads each."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.logs.columns import rows_of_lines
from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.parquet import TRAJECTORIES, from_table
from synde_pipeline.logs.rows import parse_line
from synde_pipeline_tests.helpers import step, trajectories, trajectory
from synde_pipeline_tests.logs.junk import mutated

WHOLE = json.loads(trajectory("test:a", steps=(step(), step(1, "find"))).model_dump_json())

NEARLY = [
    *(("trial", value) for value in (0, 1.0, "1", True, -1, 2**31, 2**31 - 1, None)),
    *(("reward", value) for value in (1, "0.5", None, True, -3)),
    *(
        ("day", value)
        for value in ("2025-02-30", "20250101", "2025-W01-1", "2025-01-01T00:00:00", 1735689600, "٢٠٢٥-٠١-٠١")
    ),
    *(
        ("started_at", value)
        for value in ("2025-01-01", "2025-01-01 10:00", "2025-01-01T10:00:00.1234567Z", 1735689600)
    ),
    *(("started_at", value) for value in ("0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "0000-01-01")),
    *(("started_at", value) for value in ("2025-01-01T10:00:00+01:30", "2025-01-01T24:00:00", "2025-01-01T10:00:60Z")),
    *(("trace_uid", value) for value in ("ab", "é" * 200, "é" * 201, "a\x00b")),
    *(
        ("task_id", value)
        for value in ("test:library", "test:other:t", "te\nst:library:t", "test:library:t\n", "a:library:x:y")
    ),
    *(("domain", value) for value in ("library\n", "Library")),
    *(("scope", value) for value in ("site:x", "site:\u00a0", "site:é", "site", "site:a b", None)),
    *(("outcome", value) for value in ("unknown", "won", None)),
    *(("label_source", value) for value in ("none", "me")),
    *(("schema_version", value) for value in (0, 2, 1.0, None)),
    *(
        ("steps", value)
        for value in ([], None, [None], [[]], [step().model_dump(mode="json"), step().model_dump(mode="json")])
    ),
    *(("shown_memory", value) for value in (["a", None], [1], None, "a", ["a", "b"])),
    *(("tool", value) for value in ("a b", "", "é", "\u2003", "a\x7f")),
    *(("index", value) for value in (-1, 5, "0", 0.0)),
    *(("success", value) for value in ("true", 1, 0, "yes", None)),
    *(("confidence", value) for value in (0, 1, 1.0000001, -0.0, None, "1")),
    *(("unknown_field", value) for value in (1, None)),
]


def agree(lines: list[bytes]) -> None:
    found = rows_of_lines(lines)
    assert found.table.schema.equals(TRAJECTORIES)
    found.table.validate(full=True)
    alone = {number: parse_line(line, number) for number, line in enumerate(lines) if line.strip()}
    assert dict(zip(found.numbers.tolist(), from_table(found.table), strict=True)) == {
        number: row for number, row in alone.items() if not isinstance(row, BadRow)
    }
    assert found.bad == [row for row in alone.values() if isinstance(row, BadRow)]


def line_with(field: str, value: object) -> bytes:
    row = json.loads(json.dumps(WHOLE))
    (row["steps"][0] if field in row["steps"][0] else row)[field] = value
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(("field", "value"), NEARLY, ids=str)
def test_a_value_at_the_edge_is_taken_or_refused_as_the_record_does(field, value):
    agree([line_with("trial", 3), line_with(field, value), line_with("reward", 0.25)])


@pytest.mark.parametrize("name", list(WHOLE))
def test_a_field_that_is_missing_gets_the_records_default_or_its_refusal(name):
    row = {key: value for key, value in WHOLE.items() if key != name}
    agree([json.dumps(row).encode(), json.dumps(WHOLE).encode()])


whole = json.dumps(WHOLE).encode()
HOSTILE = [
    *(b"{}", b"null", b"[]", b"{", b"}", b"1e999", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf" + whole),
    *(whole + whole, whole + b" ", b" " + whole, whole + b"\r", whole[:-1], whole + b"}", whole[: len(whole) // 2]),
    *(whole[: len(whole) // 2] + b"}", b"{" + whole[len(whole) // 2 :], whole.replace(b"please", b"pl\nease"[:2])),
    whole.replace(b'"trial"', b'"trial": 1, "trial"'),
    whole.replace(b"please", b"\\ud800"),
    whole.replace(b"please", b"\\udc00"),
    whole.replace(b"please", b"\\ud83d\\ude00"),
    whole.replace(b"please", b"\xed\xa0\x80"),
    whole.replace(b"please", b"\xc3"),
    whole.replace(b"please", b"\\u0000"),
    whole.replace(b"please", b"\x01"),
    whole.replace(b'"reward": 1.0', b'"reward": NaN'),
    whole.replace(b'"reward": 1.0', b'"reward": 1e400'),
    whole.replace(b'"reward": 1.0', b'"reward": 01'),
    whole.replace(b'"reward": 1.0', b'"reward": ' + b"[" * 5000),
    whole.replace(b'"reward": 1.0', b'"reward": ' + b"9" * 5000),
    whole.replace(b'"reward": 1.0', b'"reward": 1.0 /* a comment */'),
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_line_harms_no_other(line):
    agree([whole, line, whole])
    agree([line])


lines = st.lists(
    trajectories().map(lambda item: item.model_dump_json().encode())
    | mutated(WHOLE).map(lambda row: json.dumps(row).encode())
    | mutated(WHOLE).map(lambda row: json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.sampled_from([*HOSTILE, b"", b"  ", b"\r"]),
    max_size=12,
)


@settings(max_examples=200)
@given(lines)
def test_many_lines_are_read_as_each_alone(some):
    agree(some)


def test_no_lines_are_no_rows():
    assert len(rows_of_lines([]).table) == 0
    assert isinstance(rows_of_lines([b" "]).table, pa.Table)

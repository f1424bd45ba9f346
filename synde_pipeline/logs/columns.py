"""JSON lines -> columns of raw logs: the column engine reads what is plain, the record itself whatever is not.

Lines that Arrow refuses together are halved until those that it refuses stand alone. What it accepts is checked
by whole columns, more strictly than a record is: Arrow takes NULL for what is missing, and never asks for a range.
Lines that fail are read by `Trajectory`, whose word is final. So each line is kept, or refused with its reason, as if
it had been read alone, and only unusual lines cost as much.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import json as pa_json

from synde_pipeline.logs.documents import BadRow
from synde_pipeline.logs.parquet import STEP, TRAJECTORIES, pc, rows_of_elements, to_table
from synde_pipeline.logs.rows import parse_line
from synde_pipeline.records import SCHEMA_VERSION, LabelSource, Outcome

BLOCK_BYTES = 2**24
"""Size of a block of lines: what is asked of whole columns is asked once a block."""
_PARSED_BYTES = 2**20
"""So much is parsed at once: a bad line costs those beside it a few more passes."""

_FIRST, _LAST = (datetime(year, 1, 1) for year in (2, 9999))  # noqa: DTZ001 - only compared with UTC
"""Arrow knows years that Python does not."""
_STEPS = pa.list_(pa.struct([one.with_nullable(True) for one in STEP]))
_READ = pa.schema(
    [pa.field(one.name, {"day": pa.string(), "steps": _STEPS}.get(one.name, one.type)) for one in TRAJECTORIES]
)
"""As it is parsed: Arrow's JSON reader takes no date from a text, and NULLs are found after it."""
_REQUIRED = [one.name for one in TRAJECTORIES if not one.nullable]
_REQUIRED_IN_STEPS = [one.name for one in STEP if not one.nullable]
_TASK_ID = r"^[^:\n]+:(?P<domain>[a-z0-9][a-z0-9_]{0,40}):[^\n]+$"

_Mask = NDArray[np.bool_]
_Numbers = NDArray[np.int64]


@dataclass
class Rows:
    """What a block of lines held."""

    table: pa.Table
    """Valid rows."""
    numbers: _Numbers
    """Of each row, its line in the block."""
    bad: list[BadRow] = field(default_factory=list)


def rows_of_lines(lines: Sequence[bytes]) -> Rows:
    """Read a block of lines, each as `parse_line` would.

    Args:
        lines: without their ends, some megabytes (`BLOCK_BYTES`); blank ones hold nothing.
    """
    parts = [part for numbers in _pieces(lines) for part in _parsed(lines, numbers)]
    raw = pa.concat_tables([_READ.empty_table(), *(table for table, _ in parts)])
    numbers = np.concatenate([np.empty(0, np.int64), *(part for _, part in parts)])
    is_plain = _checked(raw)
    raw, numbers = (raw, numbers) if is_plain.all() else (raw.filter(pa.array(is_plain)), numbers[is_plain])
    table = raw.set_column(raw.schema.get_field_index("day"), "day", _days(raw["day"])).cast(TRAJECTORIES)

    is_read = np.array([not line.strip() for line in lines], np.bool_)
    is_read[numbers] = True
    bad, good = [], []
    for number in np.flatnonzero(~is_read).tolist():
        row = parse_line(lines[number], number)
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            good.append((number, row))
    if good:
        table = pa.concat_tables([table, to_table(row for _, row in good)])
        numbers = np.concatenate([numbers, [number for number, _ in good]])
    return Rows(table, numbers, bad)


def _pieces(lines: Sequence[bytes]) -> Iterator[_Numbers]:
    """Numbers of the lines that look like an object each, as many as are parsed at once.

    No object can go on behind a line that ends with a brace if the next line begins with one: as many rows as lines are
    one row a line.
    """
    piece, size = [], 0
    for number, line in enumerate(lines):
        if line[:1] == b"{" and line[-1:] == b"}":
            piece.append(number)
            size += len(line)
        if size >= _PARSED_BYTES:
            yield np.array(piece, np.int64)
            piece, size = [], 0
    if piece:
        yield np.array(piece, np.int64)


def _parsed(lines: Sequence[bytes], numbers: _Numbers) -> Iterator[tuple[pa.Table, _Numbers]]:
    """What Arrow can parse of some lines."""
    data = b"\n".join([lines[number] for number in numbers])
    try:
        table = pa_json.read_json(
            pa.BufferReader(data),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pa_json.ParseOptions(explicit_schema=_READ, unexpected_field_behavior="error"),
        )
        table.validate(full=True)  # text that is no UTF-8
        if len(table) == len(numbers):
            yield table, numbers
            return
    except pa.ArrowInvalid:
        pass
    if len(numbers) > 1:
        half = len(numbers) // 2
        yield from _parsed(lines, numbers[:half])
        yield from _parsed(lines, numbers[half:])


def _checked(table: pa.Table) -> _Mask:
    """Rows that a record would take as they are; of the others some may be taken too."""
    text = {name: table[name] for name in table.column_names}
    said = pc.struct_field(pc.extract_regex(text["task_id"], _TASK_ID), "domain")
    n_signs = pc.utf8_length(text["trace_uid"])
    is_unknown, is_unlabelled = pc.equal(text["outcome"], "unknown"), pc.equal(text["label_source"], "none")
    checks = [
        *(pc.is_valid(text[name]) for name in _REQUIRED),
        pc.equal(said, text["domain"]),
        pc.and_(pc.greater_equal(n_signs, 3), pc.less_equal(n_signs, 200)),
        pc.is_in(text["schema_version"], pa.array(range(1, SCHEMA_VERSION + 1), pa.int32())),
        pc.greater_equal(text["trial"], 0),
        *(pc.not_equal(text[name], "") for name in ("source", "task")),
        pc.match_substring_regex(text["scope"], r"^$|^[a-z_]+:[!-~]+$"),
        pc.is_in(text["outcome"], pa.array(get_args(Outcome))),
        pc.is_in(text["label_source"], pa.array(get_args(LabelSource))),
        pc.equal(is_unknown, is_unlabelled),
        pc.is_in(text["day"], pa.array(_dates(text["day"]), pa.string())),
        *(_or_null(_is_time, text[name]) for name in ("started_at", "ended_at")),
        _or_null(pc.is_finite, text["reward"]),
    ]
    memory, steps = text["shown_memory"], text["steps"]
    return _all(checks) & _in_lists(memory, [pc.is_valid(pc.list_flatten(memory))]) & _in_lists(steps, _of_steps(steps))


def _of_steps(steps: pa.ChunkedArray) -> list[Any]:
    one, row = pc.list_flatten(steps), rows_of_elements(steps)
    part = {name.name: pc.struct_field(one, name.name) for name in one.type}
    places = np.arange(len(row)) - np.searchsorted(row, row)
    confidence = pc.fill_null(part["confidence"], 0.0)
    return [
        *(pc.is_valid(part[name]) for name in _REQUIRED_IN_STEPS),
        pc.equal(part["index"], pa.array(places, pa.int32())),
        pc.match_substring_regex(part["tool"], "^[!-~]+$"),
        _or_null(_is_time, part["timestamp"]),
        pc.and_(pc.greater_equal(confidence, 0.0), pc.less_equal(confidence, 1.0)),
    ]


def _in_lists(lists: pa.ChunkedArray, checks: Iterable[Any]) -> _Mask:
    """Rows of whose list every element passes."""
    passed = np.ones(len(lists), np.bool_)
    passed[rows_of_elements(lists)[~_all(checks)]] = False
    return passed


def _all(checks: Iterable[Any]) -> _Mask:
    found = [np.asarray(pc.fill_null(check, False)).astype(np.bool_) for check in checks]
    return np.logical_and.reduce(found)


def _or_null(check: Any, values: Any) -> Any:
    return pc.or_kleene(pc.is_null(values), check(values))


def _is_time(values: Any) -> Any:
    bounds = [pa.scalar(bound, values.type) for bound in (_FIRST, _LAST)]
    return pc.and_(pc.greater_equal(values, bounds[0]), pc.less(values, bounds[1]))


def _dates(days: pa.ChunkedArray) -> list[str]:
    """Of texts those that are a plain date; a file holds few different ones."""
    return [text for text in days.unique().to_pylist() if text is not None and _is_date(text)]


def _is_date(text: str) -> bool:
    try:
        return str(date.fromisoformat(text)) == text
    except ValueError:
        return False


def _days(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    known = texts.unique()
    days = pa.array([date.fromisoformat(text) for text in known.to_pylist()], pa.date32())
    return pa.chunked_array([days.take(pc.index_in(texts, known).combine_chunks())])

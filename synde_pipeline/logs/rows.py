"""Single rows: one that no run can be made of, with the reason, and a line of landing."""

from typing import Any

from pydantic import ValidationError

from synde_pipeline.logs.documents import BadRow
from synde_pipeline.records import Trajectory, canonical_json


def bad_row(number: int, row: Any, error: Exception) -> BadRow:
    """Quarantine entry of a native row: its JSON, and the reason in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
    elif isinstance(error, KeyError):
        reason = f"missing field {error}"
    else:
        reason = str(error) or type(error).__name__
    return BadRow(number, " ".join(reason.split())[:300], _raw(row))


def _raw(row: Any) -> bytes:
    if isinstance(row, bytes):
        return row
    try:
        return canonical_json(row).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):  # an archive, say: its file is what it is
        return repr(row).encode("utf-8", "surrogatepass")


def parse_line(line: bytes, number: int = 0) -> Trajectory | BadRow:
    """A canonical trajectory of a line of JSON, or the reason why it is none."""
    try:
        return Trajectory.model_validate_json(line)
    except ValidationError as error:
        return bad_row(number, line, error)

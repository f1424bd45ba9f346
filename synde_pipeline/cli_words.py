"""Words that all commands share: the option `--json`, how its object is printed, and foreign texts on a terminal."""

import json
import re
import socket
from collections.abc import Iterable
from operator import add
from typing import Annotated, Any

import typer

from synde_pipeline.errors import InputError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor, colours, or turns the direction of a line; newline and tab are none of it."""


def printable(text: str) -> str:
    """A text that others wrote, as a terminal may show it: what would act on the terminal is spelled out."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def print_json(value: dict[str, Any]) -> None:
    """The one object of `--json`."""
    print(json.dumps(value, ensure_ascii=False, default=str))


def check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be had, before anything is started.

    Raises:
        InputError: somebody listens there already, or may not listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        said = f"port {port} cannot be had: {error.strerror}"
        raise InputError(said, remedy="is it open already? Else give --port") from error


def by_file(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the blocks of one `file` as one row: numbers are added, lists joined, of texts the first one counts."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        held = found.get(row["file"])
        found[row["file"]] = row if held is None else _together("", held, row)
    return list(found.values())


def _together(name: str, held: Any, value: Any) -> Any:
    if isinstance(value, dict):
        both = held.keys() & value.keys()
        return held | value | {key: _together(key, held[key], value[key]) for key in both}
    if isinstance(value, list):
        return [*held, *(one for one in value if one not in held)]
    if isinstance(value, int | float):
        return {"min": min, "max": max}.get(name, add)(held, value)
    return held or value

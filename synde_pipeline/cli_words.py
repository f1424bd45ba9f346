"""Words that all commands share: the option `--json`, how its object is printed, and foreign texts on a terminal."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor, colours, or turns the direction of a line; newline and tab are none of it."""


def printable(text: str) -> str:
    """A text that others wrote, as a terminal may show it: what would act on the terminal is spelled out."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def print_json(value: dict[str, Any]) -> None:
    """The one object of `--json`."""
    print(json.dumps(value, ensure_ascii=False, default=str))


def text_table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """Rows under their heads, in columns as wide as they need."""
    lines = [heads, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )

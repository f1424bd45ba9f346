"""Tables for people: whole lines in a pipe, folded and coloured on a terminal, and never markup from others' texts."""

import os
import pty
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.tables import text_table

_CELL = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
_ROWS = [("holds", "[red]not markup[/red] " + "word " * 40), ("does not hold", "-")]


@given(st.lists(st.tuples(_CELL, _CELL, _CELL), max_size=5))
def test_a_table_in_a_file_keeps_every_cell_whole_and_its_columns_straight(rows):
    lines = text_table(rows, ("a", "b", "c"), plain=True).splitlines()
    assert [line.split() for line in lines[1:]] == [list(row) for row in rows]
    assert all(line[lines[0].index("b") :].startswith(row[1]) for line, row in zip(lines[1:], rows, strict=True))


def test_a_pipe_gets_lines_that_can_be_searched():
    done = subprocess.run(
        [sys.executable, "-c", _program()], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": ""}
    )
    assert len(done.stdout.splitlines()) == 2
    assert "\x1b" not in done.stdout


def test_a_terminal_gets_what_fits_with_verdicts_in_colour():
    shown = _on_a_terminal(columns=60)
    plain = shown.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines())) <= 60
    assert "\x1b[32mholds" in shown
    assert "\x1b[31mdoes not hold" in shown
    assert "[red]not" in plain


def _program() -> str:
    return f"from synde_pipeline.tables import text_table; print(text_table({_ROWS!r}))"


def _on_a_terminal(columns: int) -> str:
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", _program()], stdout=theirs, check=True, env=environment)
    os.close(theirs)
    read = b""
    try:
        while part := os.read(ours, 65536):
            read += part
    except OSError:  # the end of a terminal that nobody holds any more
        pass
    return read.decode().replace("\r\n", "\n")

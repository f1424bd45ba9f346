"""Tables for people, drawn by rich: folded to a terminal and coloured there, else as wide as they need."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 10_000
"""Columns of a pipe, a file or a page: nothing is folded there, so that lines can be searched."""
_STYLES = {
    "green": ("holds", "holds exactly", "ok", "accepted", "active", "success"),
    "yellow": ("holds under conditions", "not shown", "note", "warn", "insufficient evidence", "duplicate"),
    "red": ("does not hold", "failed", "error", "rejected", "quarantined", "failure"),
}
_STYLE_OF = {word: style for style, words in _STYLES.items() for word in words}


def text_table(rows: Sequence[Sequence[str]], heads: Sequence[str] = (), *, plain: bool = False) -> str:
    """Rows under their heads, for standard output; columns are as wide as they need, on a terminal as there is room.

    Args:
        rows: cells as texts; they are shown as they are, never read as markup.
        heads: one for each column, or none.
        plain: for a file or a page, whatever standard output is.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(heads), header_style="bold")
    for k in range(len(heads or next(iter(rows), ()))):
        table.add_column(Text(heads[k] if heads else ""), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLE_OF.get(cell.lower(), "")) for cell in row))
    console = Console(
        width=_WIDE if plain or not sys.stdout.isatty() else None,
        no_color=plain or None,
        force_terminal=False if plain else None,
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def complain(text: str) -> None:
    """One line of what went wrong, on standard error."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(Text.assemble(("synde:", "bold red"), " ", text))

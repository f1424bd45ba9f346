"""`synde memory add|edit|pin|...` and `synde quarantine ...`: people edit the memory. `cli` puts them among the others.

An edit is a delta of its own, known from today on: nothing is overwritten, and another edit undoes it.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synde_pipeline.cli_memory import Item, app, bank_as_of, row_of
from synde_pipeline.cli_words import AsJson, print_json, printable
from synde_pipeline.errors import InputError
from synde_pipeline.records import Delta, Kind, MemoryItem
from synde_pipeline.settings import load

if TYPE_CHECKING:
    from synde_pipeline.memory.curate import Bank

quarantine = typer.Typer(
    no_args_is_help=True, help="Shut out an item or a source system; `synde memory restore` lets it in again."
)


@app.command()
def add(
    title: Annotated[str, typer.Option(help="What it is about, in a few words.")],
    content: Annotated[str, typer.Option(help="The advice.")],
    domain: Annotated[str, typer.Option(help="Domain that it holds in.")],
    description: Annotated[str, typer.Option(help="When to use it, and when not.")] = "",
    kind: Annotated[Kind, typer.Option(help="Kind of item.")] = "strategy",
    scope: Annotated[str, typer.Option(help="Where it holds, as site:NAME; everywhere when left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add an item; it is active at once, on your word alone.

    JSON keys: edits [trace_uid, day, op, value, target], item (as in `synde memory list`).
    """
    from synde_pipeline.memory.editor import checked_domain, item_id_of
    from synde_pipeline.memory.edits import adding, lesson_of

    lesson = lesson_of(kind=kind, scope=scope, title=title, description=description, content=content)
    _apply([adding(lesson, checked_domain(domain))], item_id_of(lesson, domain), as_json)


@app.command()
def edit(
    item_id: Item,
    title: Annotated[str | None, typer.Option(help="New title.")] = None,
    description: Annotated[str | None, typer.Option(help="New description.")] = None,
    content: Annotated[str | None, typer.Option(help="New content.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give an item other words; without any, your $EDITOR opens with the present ones.

    JSON keys: as of `synde memory add`.
    """
    from synde_pipeline.memory.editor import find_item
    from synde_pipeline.memory.edits import rewriting

    bank = bank_as_of(load(), None)
    item = find_item(bank, item_id)
    given = {"title": title, "description": description, "content": content}
    texts = {name: text for name, text in given.items() if text is not None} or _from_editor(bank, item, as_json)
    _apply([rewriting(item, texts)], item.item_id, as_json)


def _from_editor(bank: "Bank", item: MemoryItem, as_json: bool) -> dict[str, str]:
    from synde_pipeline.memory.playbooks import dumps, loads

    if as_json or not sys.stdin.isatty():
        raise InputError("nothing to change", remedy="give --title, --description or --content")
    before = dumps(bank, [item], "markdown")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{item.item_id}.md"
        path.write_text(before, "utf-8")
        subprocess.run([*shlex.split(os.environ.get("EDITOR") or "vi"), str(path)], check=False)
        text = path.read_text("utf-8")
    if text == before:
        raise InputError("nothing was changed", remedy="save the file in the editor to change the item")
    entries = loads(text, "markdown", "the edited text")
    if len(entries) != 1:
        raise InputError(f"the edited text holds {len(entries)} lessons", expected="the one that was opened")
    return entries[0].lesson.model_dump(include={"title", "description", "content"})


@app.command()
def pin(item_id: Item, as_json: AsJson = False) -> None:
    """Keep an item active whatever its counters and the token budget say. JSON keys: as of `synde memory add`."""
    from synde_pipeline.memory.edits import pinning

    item = _find(item_id)
    _apply([pinning(item)], item.item_id, as_json)


@app.command()
def unpin(item_id: Item, as_json: AsJson = False) -> None:
    """Leave a pinned item to its counters and the budget again. JSON keys: as of `synde memory add`."""
    from synde_pipeline.memory.edits import pinning

    item = _find(item_id)
    _apply([pinning(item, is_pinned=False)], item.item_id, as_json)


@app.command()
def retire(item_id: Item, as_json: AsJson = False) -> None:
    """Take an item out of use. JSON keys: as of `synde memory add`."""
    from synde_pipeline.memory.edits import retiring

    item = _find(item_id)
    _apply([retiring(item)], item.item_id, as_json)


@app.command()
def restore(
    target: Annotated[str, typer.Argument(metavar="ID", help="An item's id, or source:NAME.")], as_json: AsJson = False
) -> None:
    """Undo a retirement or a quarantine. JSON keys: as of `synde memory add`; item is null for a source."""
    from synde_pipeline.memory.edits import restoring

    if target.startswith("source:"):
        _apply([restoring(target)], None, as_json)
    else:
        item = _find(target)
        _apply([restoring(item)], item.item_id, as_json)


@quarantine.command("item")
def quarantine_item(item_id: Item, as_json: AsJson = False) -> None:
    """Shut out an item that looks like an attack. JSON keys: as of `synde memory add`."""
    from synde_pipeline.memory.edits import quarantining

    item = _find(item_id)
    _apply([quarantining(item)], item.item_id, as_json)


@quarantine.command("source")
def quarantine_source(
    name: Annotated[str, typer.Argument(help="Source system: the part of a trajectory's uid before the colon.")],
    as_json: AsJson = False,
) -> None:
    """Shut out all that a source system said: of memory, notes, and cycles that are not frozen yet.

    What is trained and promoted already stays; it is named, with the command that takes it out. JSON keys: as of
    `synde memory add` (item is null), promoted {cycle: how it holds what the source said}, remedy.
    """
    from synde_pipeline.memory.editor import every_item
    from synde_pipeline.memory.edits import quarantining
    from synde_pipeline.memory.sources import HUMAN, source_of
    from synde_pipeline.removal.plan import promoted_with
    from synde_pipeline.storage import Warehouse

    edit = quarantining(name)
    source = edit.target.removeprefix("source:")
    items = every_item(bank_as_of(load(), None))
    known = {source_of(support.trace_uid) for item in items for support in item.supports} - {HUMAN}
    if source not in known:
        typer.echo(f"no item rests on {source}; items rest on {', '.join(sorted(known)) or 'none'}", err=True)
    promoted = promoted_with(Warehouse(load().warehouse), source)
    remedy = f"synde remove --source {shlex.quote(source)} --dry-run" if promoted else ""
    said = [f"promoted cycle {key} holds it: {', '.join(relations)}" for key, relations in promoted.items()]
    said += [f"to take it out as if it had never arrived: {remedy}"] if promoted else []
    _apply([edit], None, as_json, {"promoted": promoted, "remedy": remedy}, said)


def _find(item_id: str) -> MemoryItem:
    from synde_pipeline.memory.editor import find_item

    return find_item(bank_as_of(load(), None), item_id)


def _apply(
    edits: Sequence[Delta],
    item_id: str | None,
    as_json: bool,
    more: Mapping[str, object] | None = None,
    lines: Sequence[str] = (),
) -> None:
    """Apply edits and say what became of the item that they are about; more keys of JSON, and more lines of text."""
    from synde_pipeline.memory.editor import apply_edits, find_item
    from synde_pipeline.storage import Warehouse

    settings = load()
    done = apply_edits(Warehouse(settings.warehouse), settings, edits)
    item = find_item(bank_as_of(settings, None), item_id) if item_id else None
    if as_json:
        said = [{name: getattr(e, name) for name in ("trace_uid", "day", "op", "value", "target")} for e in done]
        print_json({"edits": said, "item": row_of(item) if item else None, **(more or {})})
        return
    for one in done:
        print(f"{one.op} {one.value} {one.target}".strip() + f" from {one.day} on ({one.trace_uid})")
    if item:
        print(f"{item.item_id} is {item.status}{f' ({item.reason})' if item.reason else ''}: {printable(item.title)}")
    for line in lines:
        print(line)

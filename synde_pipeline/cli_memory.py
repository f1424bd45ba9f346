"""`synde memory list|show|export|import`: people read the memory. `cli` puts it among the others; `cli_edits` edits."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from synde_pipeline.cli_words import AsJson, print_json, printable
from synde_pipeline.records import Kind, MemoryItem, Status
from synde_pipeline.settings import Settings, load
from synde_pipeline.tables import text_table

if TYPE_CHECKING:
    from synde_pipeline.memory.curate import Bank

_Format = Literal["markdown", "json", "ace"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read and edit what the agent remembers. An edit counts from today on, and another edit undoes it.",
)
AsOf = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As of a day (UTC); today when left out.")]
Domain = Annotated[str | None, typer.Option(help="Only this domain.")]
OfKind = Annotated[Kind | None, typer.Option("--kind", help="Only this kind.")]
WithStatus = Annotated[Status | None, typer.Option("--status", help="Only this status.")]
Item = Annotated[str, typer.Argument(metavar="ID", help="An item's id, or 4 or more of its first digits.")]


@app.command("list")
def list_items(
    domain: Domain = None, kind: OfKind = None, status: WithStatus = None, as_of: AsOf = None, as_json: AsJson = False
) -> None:
    """List memory items, those too that are not active.

    JSON keys: as_of, bank_hash, counts {status: items}, items [id, version, domain, kind, scope, status, reason, title,
    tasks, helpful, harmful, neutral, pinned, successor].
    """
    bank = bank_as_of(load(), as_of)
    items = _chosen(bank, domain, kind, status)
    counts = Counter(item.status for item in items)
    if as_json:
        print_json(
            {"as_of": bank.as_of, "bank_hash": bank.bank_hash, "counts": counts, "items": list(map(row_of, items))}
        )
        return
    if items:
        heads = ("id", "status", "domain", "kind", "tasks", "helped", "harmed", "title")
        print(text_table([_cells(item) for item in items], heads))
    said = ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "no item"
    print(f"as of {bank.as_of}, bank {bank.bank_hash[:12]}: {said}")


def _cells(item: MemoryItem) -> tuple[str, ...]:
    counts = (str(n) for n in (len(item.task_ids), item.helpful, item.harmful))
    title = printable(item.title) + (f" ({printable(item.scope)})" if item.scope else "")
    return f"{item.item_id[:8]}{'*' * item.pinned}", item.status, item.domain, item.kind, *counts, title


@app.command()
def show(item_id: Item, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show one item: its texts, why it has its status, what it rests on, and who edited it.

    JSON keys: as_of, bank_hash, item (all fields of the item, id, version, tasks), edits [trace_uid, at, op, value,
    title, description, content].
    """
    from synde_pipeline.memory.editor import edits_about, find_item
    from synde_pipeline.storage import Warehouse

    settings = load()
    bank = bank_as_of(settings, as_of)
    item = find_item(bank, item_id)
    edits = [edit for edit in edits_about(Warehouse(settings.warehouse), item) if edit.day <= bank.as_of]
    if as_json:
        found = row_of(item) | item.model_dump(mode="json")
        said = [edit.model_dump(mode="json", include=_EDIT_KEYS) for edit in edits]
        print_json({"as_of": bank.as_of, "bank_hash": bank.bank_hash, "item": found, "edits": said})
        return
    print(f"{item.item_id} (version {item.version}), {item.domain} {item.kind}, {item.status}", end="")
    print(f": {item.reason}" if item.reason else "")
    print(printable(f"\n{item.title}\n  {item.description}\n\n{item.content}\n"))
    print(
        f"scope: {item.scope or 'the whole domain'}; helpful {item.helpful}, harmful {item.harmful}, "
        f"neutral {item.neutral}{'; pinned' if item.pinned else ''}"
    )
    print(f"rests on {len(item.supports)} trajectories of {len(item.task_ids)} tasks:")
    for support in item.supports[:12]:
        print(f"  {support.trace_uid} {support.outcome}")
    for text in item.unsaid:
        print(f"others said: {printable(text)}")
    for edit in edits:
        print(f"edited {edit.at:%Y-%m-%d %H:%M} UTC: {edit.op} {edit.value}".rstrip())


_EDIT_KEYS = {"trace_uid", "at", "op", "value", "title", "description", "content"}


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="File to write; without it the text is printed.")] = None,
    form: Annotated[_Format, typer.Option("--format", help="ace is a playbook.")] = "markdown",
    domain: Domain = None,
    kind: OfKind = None,
    status: WithStatus = "active",
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Write memory items as a file that people, `synde memory import` and ACE can read; the active ones by default.

    JSON keys: as_of, bank_hash, items (how many), format, path, text (null where a file was written).
    """
    from synde_pipeline.memory.playbooks import dumps

    bank = bank_as_of(load(), as_of)
    items = _chosen(bank, domain, kind, status)
    text = dumps(bank, items, form)
    if out is not None:
        out.write_bytes(text.encode("utf-8"))
    if as_json:
        about = {"as_of": bank.as_of, "bank_hash": bank.bank_hash, "items": len(items), "format": form}
        print_json({**about, "path": out and str(out), "text": None if out else text})
    else:
        print(f"{len(items)} items written to {out}" if out else text, end="\n" if out else "")


@app.command("import")
def import_items(
    path: Annotated[Path, typer.Argument(help="Markdown or JSON of `synde memory export`, or an ACE playbook.")],
    domain: Annotated[str | None, typer.Option(help="Domain of lessons whose file names none (playbooks).")] = None,
    form: Annotated[_Format | None, typer.Option("--format", help="Told by content when left out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add the lessons of a file as yours: they are active on your word; an item that is there gets the file's words.

    Counters of a playbook are kept as words in the description: they are no evidence of ours. JSON keys: path, lessons,
    added [ids], changed [ids], same, inactive (left out: the file says that they are not active), suspects [id, why]
    (they read like attacks), edits (stored).
    """
    from synde_pipeline.memory.editor import apply_edits, plan_import, settle
    from synde_pipeline.memory.playbooks import read_file
    from synde_pipeline.storage import Warehouse

    settings = load()
    entries = read_file(path, form)
    if not dry_run:
        settle(Warehouse(settings.warehouse), settings)
    plan = plan_import(bank_as_of(settings, None), entries, domain)
    if plan.edits and not dry_run:
        apply_edits(Warehouse(settings.warehouse), settings, plan.edits)
    if as_json:
        found = {"added": plan.added, "changed": plan.changed, "same": plan.n_same, "inactive": plan.n_inactive}
        found |= {"suspects": [{"id": item_id, "why": why} for item_id, why in plan.suspects]}
        print_json({"path": path, "lessons": len(entries), **found, "edits": 0 if dry_run else len(plan.edits)})
        return
    would = "would be " if dry_run else ""
    print(
        f"{path}: {len(entries)} lessons; {len(plan.added)} {would}added, {len(plan.changed)} {would}changed, "
        f"{plan.n_same} known, {plan.n_inactive} not active"
    )
    for item_id, why in plan.suspects:
        print(f"  {item_id} {why}: synde quarantine item {item_id}")


# -- what the commands share ----------------------------------------------------------------------------------------


def bank_as_of(settings: Settings, as_of: datetime | None) -> "Bank":
    """The bank as of a day; of today for None."""
    from synde_pipeline.memory import banks
    from synde_pipeline.memory.editor import today
    from synde_pipeline.storage import Warehouse

    day = as_of.date() if as_of else today()
    return banks.bank_as_of(Warehouse(settings.warehouse), settings.memory, day)


def _chosen(bank: "Bank", domain: str | None, kind: str | None, status: str | None) -> list[MemoryItem]:
    from synde_pipeline.memory.editor import every_item

    wanted = (("domain", domain), ("kind", kind), ("status", status))
    found = [i for i in every_item(bank) if all(value is None or getattr(i, name) == value for name, value in wanted)]
    return sorted(found, key=lambda item: (item.domain, item.status != "active", item.kind, item.scope, item.title))


_ROW_KEYS = {"domain", "kind", "scope", "status", "reason", "title"} | {"helpful", "harmful", "neutral"}
_ROW_KEYS |= {"pinned", "successor"}


def row_of(item: MemoryItem) -> dict[str, Any]:
    """An item without its texts, as JSON shows it."""
    about = item.model_dump(include=_ROW_KEYS)
    return {"id": item.item_id, "version": item.version, **about, "tasks": len(item.task_ids)}

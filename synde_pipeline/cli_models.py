"""The commands of models: `synde champion`, `promote`, `rollback`, `export`, `gc`. `cli` puts them among the others."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.errors import InputError
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse
from synde_pipeline.tables import text_table

Reason = Annotated[str, typer.Option(help="Why, for the history.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]


def show_champion(as_json: AsJson = False) -> None:
    """Say what is served in each domain, and every decision that led there.

    JSON keys: hash, domains {domain: {kind, cycle, model, adapters}}, history [number, cycle, verdict, by, serves,
    withdrawn, restored, model, reason].
    """
    from synde_pipeline.models.overrule import history_rows
    from synde_pipeline.models.registry import champion

    known = champion(Warehouse(load().warehouse))
    rows = history_rows(known)
    if as_json:
        domains = {domain: served.model_dump() for domain, served in known.domains.items()}
        print_json({"hash": known.hash, "domains": domains, "history": rows})
        return
    for domain, served in known.domains.items():
        print(f"{domain}: {served.cycle} ({served.kind} of {len(served.adapters)} cycles' adapters)")
    if not known.domains:
        print("nothing is served but the base")
    if rows:
        names = ("number", "cycle", "verdict", "by", "withdrawn", "reason")
        print()
        _print_table(names, [{**row, "withdrawn": " ".join(row["withdrawn"])} for row in rows])


def promote(
    cycle: Annotated[str, typer.Argument(help="Key of a cycle, for example retail-0003.")],
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Serve a cycle's model, whatever the gate said of it. The history records that a person decided.

    From then on only the adapters that this model holds count as accepted. JSON keys: domain, from, to, and where
    something was done champion, history (the last decision).
    """
    from synde_pipeline.models.overrule import promotion

    _move(promotion(Warehouse(load().warehouse), cycle), reason, dry_run=dry_run, ask=not yes, as_json=as_json)


def rollback(
    domain: Annotated[str | None, typer.Option(help="Needed where several domains have a champion.")] = None,
    to: Annotated[str | None, typer.Option(help="Cycle to go back to; the champion before when left out.")] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Serve an earlier champion again; before the first one there was the base alone.

    What is given up counts as not accepted: later cycles do not stand on it. Nothing is trained again because of it.
    JSON keys: as of `synde promote`.
    """
    from synde_pipeline.models.overrule import rollback

    _move(rollback(Warehouse(load().warehouse), domain, to), reason, dry_run=dry_run, ask=not yes, as_json=as_json)


def _move(move: Any, reason: str, *, dry_run: bool, ask: bool, as_json: bool) -> None:
    from synde_pipeline.models.overrule import carry_out, history_rows

    words = move.for_json()
    said = f"{words['domain']}: {words['from'] or 'the base'} -> {words['to'] or 'the base'}"
    if not dry_run:
        if ask and not move.is_done:
            _confirm(said)
        warehouse = Warehouse(load().warehouse)
        with _lease(warehouse):
            now = carry_out(warehouse, move, reason)
        words |= {"champion": now.hash, "history": history_rows(now)[-1]}
    if as_json:
        print_json(words)
    else:
        print(said if not move.is_done else f"{words['to']} is served already")


def export(
    out: Annotated[Path, typer.Option(help="A new folder.")],
    cycle: Annotated[str | None, typer.Option(help="Model of this cycle instead of the champion's.")] = None,
    champion: Annotated[bool, typer.Option("--champion", help="What is served, of all domains (default).")] = False,
    form: Annotated[str, typer.Option("--as", help="adapters, cat or merged.")] = "adapters",
    as_json: AsJson = False,
) -> None:
    """Write what is served, or a cycle's model, to a folder that PEFT, transformers and vLLM load.

    adapters: each adapter as a PEFT folder, with its lineage and the key it is routed by. cat: one exact adapter of the
    summed rank. merged: a whole model. A bank of routed adapters exports as adapters only.

    JSON keys: out, form, folders [cycle, domain, folder, alpha, scopes].
    """
    from synde_pipeline.models import export as exporting
    from synde_pipeline.models.overrule import promotion
    from synde_pipeline.models.registry import champion as served

    chosen = exporting.form_of(form)
    if cycle and champion:
        raise InputError("--cycle and --champion name two things", remedy="give one of them")
    warehouse = Warehouse(load().warehouse)
    target = promotion(warehouse, cycle).target if cycle else None
    models = [target] if target else exporting.served_headers(warehouse, served(warehouse).domains)
    found = exporting.export(warehouse, models, out, chosen)
    if as_json:
        print_json(found)
        return
    for row in found["folders"]:
        print(f"{row['folder']}  {row['cycle']}  {row.get('scopes', '')}")


def collect_garbage(
    keep: Annotated[int, typer.Option(min=0, help="Newest merged models of each domain that stay.")] = 3,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove what can be made again or serves nobody.

    That is: old merged models, checkpoints of finished trainings, stages of killed processes, old versions of the
    memory's table. Never the champion, its adapters, any adapter of a ledger, lineage, manifests or logs. A collected
    model is made again by `synde promote` or `synde rollback --to`.

    JSON keys: removals [path, bytes, reason], freed (null when nothing was done).
    """
    from synde_pipeline.evaluation.due import due_cycles
    from synde_pipeline.models.gc import Removal, collect, plan
    from synde_pipeline.training.cycles import cycles

    warehouse = Warehouse(load().warehouse)

    def planned() -> dict[Path, Removal]:
        due = {cycle.key for cycle in due_cycles(warehouse)}
        finished = frozenset(cycle.key for cycle in cycles(warehouse)) - due
        return {one.path: one for one in plan(warehouse, finished, keep)}

    with _lease(warehouse):
        removals = planned()
    rows = [{"path": str(one.path), "bytes": one.n_bytes, "reason": one.reason} for one in removals.values()]
    if not as_json:
        _print_table(("path", "bytes", "reason"), rows)
    freed = None
    if removals and not dry_run:
        if not yes:
            _confirm(f"remove these {len(removals)}")
        with _lease(warehouse):  # not while somebody thinks; what serves again by now stays
            freed = collect(warehouse, [one for path, one in planned().items() if path in removals])
    if as_json:
        print_json({"removals": rows, "freed": freed})
    elif freed is not None:
        print(f"{freed:,} bytes freed")
    elif not removals:
        print("nothing to remove")


@contextmanager
def _lease(warehouse: Warehouse) -> Iterator[None]:
    from synde_pipeline.lease import lease

    with lease(warehouse.root, "training", log=lambda text: print(text, file=sys.stderr)):
        yield


def _confirm(what: str) -> None:
    """Ask on the terminal.

    Raises:
        InputError: there is nobody to ask.
        typer.Exit: the answer was no.
    """
    if not sys.stdin.isatty():
        raise InputError(f"{what}? There is no terminal to ask on", remedy="give --yes")
    if not typer.confirm(f"{what}?", err=True):
        raise typer.Exit(1)


def _print_table(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        print(text_table([["-" if row[name] is None else str(row[name]) for name in names] for row in rows], names))

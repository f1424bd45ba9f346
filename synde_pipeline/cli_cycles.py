"""The commands about what was trained: `synde train`, `synde lineage`, `synde remove`. `cli` puts them in place."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer
from tqdm import tqdm

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.errors import InputError
from synde_pipeline.settings import load

_SHOWN = 12
"""Nodes of one branch that are printed."""


def train(
    now: Annotated[bool, typer.Option("--now", help="Freeze what waits although no threshold is reached.")] = False,
    domain: Annotated[str | None, typer.Option(help="The only domain that --now is about.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the warehouse up to date and train its due cycles, with --now also of what waits for a cycle.

    JSON keys: days, cycles, waiting {domain: examples}, left_out {domain: {source: [why, trajectories]}}.
    """
    if domain is not None and not now:
        raise InputError("--domain without --now", remedy="add --now: thresholds are looked at in every domain anyway")
    from synde_pipeline.defs.run import run  # Dagster: only for the commands that need it
    from synde_pipeline.storage import Warehouse
    from synde_pipeline.training.buffer import EVERY, read_buffer
    from synde_pipeline.training.trust import Trust

    settings = load()
    forced = ([domain] if domain else [EVERY]) if now else []
    with tqdm(desc="train", unit="stage", disable=None, leave=False) as bar:

        def say(stage: str) -> None:
            bar.update()
            if not as_json:
                tqdm.write(f"- {stage}")

        summary = run(settings, say=say, forced=forced)
    warehouse = Warehouse(settings.warehouse)
    buffer = read_buffer(warehouse, trust=Trust.now(warehouse, settings.memory))
    waiting = {name: buffer.n_signals(name) for name in sorted(buffer.unclaimed)}
    if as_json:
        days = [str(day) for day in summary.days]
        print_json({"days": days, "cycles": summary.cycles, "waiting": waiting, "left_out": buffer.left_out})
        return
    print(f"{len(summary.cycles)} training cycles: {', '.join(summary.cycles) or 'none was due'}")
    for name, n in waiting.items():
        print(f"  {name}: {n} examples wait (threshold {settings.buffer.threshold})")
    for name, sources in buffer.left_out.items():
        for found in sources.values():
            print(f"  {name}: {found.n_trajectories} trajectories are left out: {found.why}")


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Uid of a trajectory, memory item's id, cycle, artefact[key], champion[domain], or a hash.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what something was made from, and all that was made from it: from trajectory to champion and back.

    JSON keys: id, kind, hash, up and down, both nested nodes {artefact, key, hash, relation}; `seen` marks a node that
    is expanded elsewhere.
    """
    from synde_pipeline.models.ancestry import lineage as walk
    from synde_pipeline.storage import Warehouse

    settings = load()
    found = walk(Warehouse(settings.warehouse), name, settings.memory)
    if as_json:
        print_json(found)
        return
    print(f"{found['id']}  {found['hash'][:12]}".rstrip())
    for way, title in (("up", "made from"), ("down", "made into")):
        print(f"{title}:")
        _print_tree(found[way], way, "  ")


def _print_tree(nodes: list[dict[str, Any]], way: str, indent: str) -> None:
    for node in nodes[:_SHOWN]:
        name = f"{node['artefact']}[{node['key']}]" if node["key"] else node["artefact"]
        more = "  (see above)" if node.get("seen") else ""
        print(f"{indent}{node['relation']}: {name}  {node['hash'][:12]}{more}".rstrip())
        _print_tree(node[way], way, indent + "  ")
    if len(nodes) > _SHOWN:
        print(f"{indent}and {len(nodes) - _SHOWN} more (--json has all)")


def remove(
    trace: Annotated[str | None, typer.Option(metavar="UID", help="One trajectory, or one edit (human:...).")] = None,
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="All of a day (UTC).")] = None,
    source: Annotated[str | None, typer.Option(help="All of an importer or source system.")] = None,
    adapter: Annotated[str | None, typer.Option(metavar="CYCLE", help="A cycle's adapters; its logs stay.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and its cost; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Finish a removal that was interrupted.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Certificates of all removals.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take something out as if it had never arrived: logs, memory, training, models, reports and the gate's decisions.

    The plan is shown first. What was recorded after it arrived is replayed without it: the result equals a history in
    which it never was. An interrupted removal is finished by --resume or the next `synde run`.

    JSON keys: of --dry-run request, trajectories, landing_files, days, cycles, from_arrival, base_is_rebuilt,
    evaluated_again, trained_again, is_sequential, sequences, steps, cpu_s, note; else {"removals": [...]} with number,
    request, trajectories, changed, trained_again, purged, may_remain, removed_at.
    """
    from synde_pipeline.removal import remove as removal
    from synde_pipeline.removal.request import Request
    from synde_pipeline.storage import Warehouse

    settings = load()
    warehouse = Warehouse(settings.warehouse)
    say = (lambda _: None) if as_json else (lambda text: print(f"- {text}"))
    if show:
        _print_certificates(removal.certificates(warehouse), as_json)
        return
    if resume:
        _print_certificates([done for done in [removal.resume(warehouse, say)] if done], as_json)
        return
    request = Request.of(trace=trace, day=day.date() if day else None, source=source, adapter=adapter)
    plan = removal.plan_of(warehouse, settings, request)
    _print_plan(plan, as_json=as_json, only=dry_run)
    if dry_run:
        return
    if not yes:
        _ask(as_json)
    done = removal.remove(warehouse, settings, request, say)
    _print_certificates([done], as_json)


def _ask(as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise InputError("nobody is there to be asked", remedy="add --yes to remove, or --dry-run to look")
    typer.confirm("Remove it?", abort=True)


def finish_removal(say: Callable[[str], None]) -> None:
    """Finish an interrupted removal, if there is one, before anything else is done."""
    from synde_pipeline.logs.tombstones import active_path
    from synde_pipeline.storage import Warehouse

    warehouse = Warehouse(load().warehouse)
    if active_path(warehouse).exists():
        from synde_pipeline.removal.remove import resume

        resume(warehouse, say)


def _print_plan(plan: dict[str, Any], *, as_json: bool, only: bool) -> None:
    if as_json:
        if only:  # what is printed is one object: the plan, or the certificate
            print_json(plan)
        return
    print(f"remove {plan['request']}: {len(plan['trajectories'])} trajectories, days {', '.join(plan['days']) or '-'}")
    for path in plan["landing_files"]:
        print(f"  landing: {path}")
    for key, relations in plan["cycles"].items():
        print(f"  cycle {key}: {', '.join(relations)}")
    if plan["base_is_rebuilt"]:
        print("  the base model was built from it: base and all cycles are made anew")
    print(f"  evaluated again: {', '.join(plan['evaluated_again']) or 'no cycle'}")
    print(f"  trained again: {', '.join(plan['trained_again']) or 'no cycle'}")
    if plan["is_sequential"]:
        print("  adapters were trained on top of each other: all later cycles of the domain are made anew")
    seconds = "unknown: no training was timed yet" if plan["cpu_s"] is None else f"about {plan['cpu_s']:.0f}"
    print(f"  cost: {plan['sequences']} sequences, {plan['steps']} optimiser steps; CPU seconds {seconds}")
    print(f"  ({plan['note']})")


def _print_certificates(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"removals": found})
        return
    for one in found:
        print(
            f"removal {one['number']} at {one['removed_at']}: {one['request']}, {len(one['trajectories'])} trajectories"
        )
        print(f"  {len(one['changed'])} artefacts changed; trained again: {', '.join(one['trained_again']) or 'none'}")
        for text in one["may_remain"]:
            print(f"  may remain: {text}")
    if not found:
        print("no removal")

"""The commands about what was trained: `synde train`, `synde lineage`, `synde remove`. `cli` puts them in place."""

import json
from typing import Annotated, Any

import typer
from tqdm import tqdm

from synde_pipeline.errors import InputError
from synde_pipeline.settings import load

_SHOWN = 12
"""Nodes of one branch that are printed."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def train(
    now: Annotated[bool, typer.Option("--now", help="Freeze what waits although no threshold is reached.")] = False,
    domain: Annotated[str | None, typer.Option(help="The only domain that --now is about.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the warehouse up to date and train its due cycles, with --now also of what waits for a cycle.

    JSON keys: days, cycles, waiting {domain: examples}.
    """
    if domain is not None and not now:
        raise InputError("--domain without --now", remedy="add --now: thresholds are looked at in every domain anyway")
    from synde_pipeline.defs.run import run  # Dagster: only for the commands that need it
    from synde_pipeline.storage import Warehouse
    from synde_pipeline.training.buffer import EVERY, read_buffer

    settings = load()
    forced = ([domain] if domain else [EVERY]) if now else []
    with tqdm(desc="train", unit="stage", disable=None, leave=False) as bar:

        def say(stage: str) -> None:
            bar.update()
            if not as_json:
                tqdm.write(f"- {stage}")

        summary = run(settings, say=say, forced=forced)
    buffer = read_buffer(Warehouse(settings.warehouse))
    waiting = {name: buffer.n_signals(name) for name in sorted(buffer.unclaimed)}
    if as_json:
        _print_json({"days": [str(day) for day in summary.days], "cycles": summary.cycles, "waiting": waiting})
        return
    print(f"{len(summary.cycles)} training cycles: {', '.join(summary.cycles) or 'none was due'}")
    for name, n in waiting.items():
        print(f"  {name}: {n} examples wait (threshold {settings.buffer.threshold})")


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
        _print_json(found)
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


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))

"""`synde recall`: what memory would show an agent. `cli` puts it among the others."""

from datetime import datetime
from typing import Annotated, Any

import typer

from synde_pipeline.cli_words import AsJson, print_json, printable
from synde_pipeline.errors import InputError
from synde_pipeline.settings import load

_SHOWN = 8
"""Supporting runs of an item that are printed."""


def recall(
    task: Annotated[str, typer.Argument(help="The task, in the words that the agent would get.")],
    domain: Annotated[str | None, typer.Option(help="Its domain; may be left out where there is only one.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Nothing learned after this day; default: all.")
    ] = None,
    k: Annotated[int | None, typer.Option(min=0, help="Items at most (SYNDE_TOP_K).")] = None,
    scope: Annotated[str, typer.Option(help="Where the task is, for example site:example.")] = "",
    without_task: Annotated[
        str | None, typer.Option(help="Id of a task: memory answers as if it had never seen it.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each item is there, and others are not.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the memory items that an agent would get for a task, best first.

    What works at the task's place comes first, then what fails there, then what holds all over its domain; among these
    the nearest in meaning.

    JSON keys: task, domain, scope, as_of, without_task, items [id, version, kind, scope, title, description, content,
    score, reason, tasks, helpful, harmful, neutral, pinned]; with --explain also bank [hash, items, deltas], supports
    {item id: [task_id, trace_uid, outcome]}, passed_over [id, title, score, reason: alike or budget], left_out {reason:
    number of items}. Ids are the same in every run.
    """
    from synde_pipeline.memory.explain import explained, told
    from synde_pipeline.memory.retrieve import Memory, Query
    from synde_pipeline.storage import Warehouse

    if not task.strip():
        raise InputError("the task is empty", expected="what the agent is asked to do")
    settings = load()
    memory = Memory.load(Warehouse(settings.warehouse), settings.memory)
    last_day = memory.last_day
    if last_day is None:
        raise InputError("the memory is empty", remedy="`synde run PATH_TO_LOGS` first")
    query = Query(task, _domain(domain, memory.domains), as_of.date() if as_of else last_day, without_task, scope)
    (answer,) = memory.answers([query], top_k=k)
    found = told(query, answer) | (explained(memory, query, answer) if explain else {})
    if as_json:
        print_json(found)
        return
    _print(found)


def _domain(asked: str | None, known: list[str]) -> str:
    if asked is None and len(known) > 1:
        raise InputError("there are several domains", expected=f"--domain {' or '.join(known)}")
    if asked is not None and asked not in known:
        raise InputError(f"--domain is {asked!r}", expected=" or ".join(known))
    return asked or known[0]


def _print(found: dict[str, Any]) -> None:
    print(f"{found['domain']} as of {found['as_of']}: {len(found['items'])} items")
    for item in found["items"]:
        place = f" [{item['scope']}]" if item["scope"] else ""
        print(f"\n{item['score']:.3f}  {printable(item['title'])}{place}  ({item['kind']} {item['id']})")
        print(f"       {printable(item['content'])}")
        print(f"       {item['reason']}; {item['tasks']} tasks, helped {item['helpful']}, harmed {item['harmful']}")
        for support in found.get("supports", {}).get(item["id"], [])[:_SHOWN]:
            print(f"         {support['outcome']}: {support['task_id']} ({support['trace_uid']})")
    if "bank" in found:
        _print_rest(found)


def _print_rest(found: dict[str, Any]) -> None:
    print()
    for one in found["passed_over"]:
        why = "too like an item above" if one["reason"] == "alike" else "beyond the token budget"
        print(f"passed over: {one['score']:.3f}  {printable(one['title'])} ({one['id']}), {why}")
    for reason, n in found["left_out"].items():
        print(f"left out: {n} {reason.replace('_', ' ')}")
    bank = found["bank"]
    print(f"bank {bank['hash'][:16]}: {bank['items']} items from {bank['deltas']} deltas")

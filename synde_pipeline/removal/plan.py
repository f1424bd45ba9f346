"""What a removal will touch and cost, before anything is touched."""

from typing import Any

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.memory.sources import source_of
from synde_pipeline.models.compose import ADAPTERS, RULES, rule_of
from synde_pipeline.models.merge import MERGED
from synde_pipeline.models.registry import champion
from synde_pipeline.removal.inputs import Gone, affected_days
from synde_pipeline.removal.replay import Replay
from synde_pipeline.removal.request import Request, parsed
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import claimed_examples, cycles
from synde_pipeline.training.daily import SHARDS
from synde_pipeline.training.timings import seconds_per_step

NOTE = (
    "at least these: verdicts, memory items and draws of old logs may change in what follows, and then more cycles are "
    "trained again; all cycles from the first affected arrival on are evaluated again"
)


def plan(replay: Replay, request: Request, gone: Gone) -> dict[str, Any]:
    """What depends on what goes, what will be rebuilt at least, and its cost; `replay` is of the old warehouse."""
    old, first = replay.old, replay.first()
    held = {cycle.key: _relations(old, cycle.key, gone.uids) for cycle in cycles(old)}
    later = [key for record in replay.journal if record.number >= first for key in record.frozen]
    retrained = _retrained(replay, held, request.adapter)
    headers = [header for key in retrained if (header := old.header(ADAPTERS, key))]
    steps, per_step = sum(header.counts["steps"] for header in headers), seconds_per_step(old)
    return {
        "request": request.text,
        "trajectories": sorted(gone.uids),
        "landing_files": _landing_files(old, gone),
        "days": affected_days(old, gone),
        "cycles": {key: found for key, found in held.items() if found},
        "from_arrival": first if first <= len(replay.journal) else None,
        "base_is_rebuilt": replay.is_base_affected,
        "evaluated_again": later,
        "trained_again": retrained,
        "is_sequential": any(rule_of(header).on_ledger for header in headers),
        "sequences": sum(header.counts["sequences"] for header in headers),
        "steps": steps,
        "cpu_s": round(steps * per_step, 1) if per_step is not None else None,
        "note": NOTE if later else "no training depends on it",
    }


def promoted_with(warehouse: Warehouse, source: str) -> dict[str, list[str]]:
    """Cycles whose adapters are in a champion and hold what a source system said, and how they hold it."""
    models = [warehouse.header(MERGED, served.cycle) for served in champion(warehouse).domains.values()]
    keys = {row["cycle"] for model in models if model for row in model.info["adapters"]}
    found = {}
    for key in sorted(keys):
        uids = set().union(*_held(warehouse, key).values())
        found[key] = _relations(warehouse, key, frozenset(uid for uid in uids if source_of(uid) == source))
    return {key: relations for key, relations in found.items() if relations}


def _held(warehouse: Warehouse, key: str) -> dict[str, set[str]]:
    """How a cycle holds trajectories -> which."""
    found = {"claimed": {row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, key)}}
    if warehouse.header(SHARDS, key):
        table = warehouse.read_table(SHARDS, key)
        rows = table.select(["trace_uid", "is_replay", "memory_trajectories"]).to_pylist()
        found["replayed"] = {row["trace_uid"] for row in rows if row["is_replay"]}
        found["shown as memory"] = {uid for row in rows for uid in row["memory_trajectories"]}
    return found


def _relations(warehouse: Warehouse, key: str, uids: frozenset[str]) -> list[str]:
    """How a cycle holds what goes."""
    found = [relation for relation, held in _held(warehouse, key).items() if held & uids]
    header = warehouse.header(ADAPTERS, key)
    n_groups = len(header.info.get("groups", ())) if header else 0
    if header and header.info["config"].get("anchors") and n_groups > 1 and {"claimed", "replayed"} & set(found):
        found.append("may anchor other scopes' adapters")
    return found


def _retrained(replay: Replay, held: dict[str, list[str]], adapter: str | None) -> list[str]:
    """Cycles whose sequences hold what goes, and those trained on top of one that changes."""
    found: list[str] = []
    changed: set[str] = set()
    for cycle in cycles(replay.old):
        header = replay.old.header(ADAPTERS, cycle.key)
        if header is None:
            continue
        is_on_top = RULES[header.info["config"]["composition"]].on_ledger and cycle.domain in changed
        if held[cycle.key] or replay.is_base_affected or is_on_top:
            found.append(cycle.key)
        if cycle.key == adapter or cycle.key in found:
            changed.add(cycle.domain)
    return found


def _landing_files(warehouse: Warehouse, gone: Gone) -> list[str]:
    found = []
    for path in sorted((warehouse.root / LANDING).glob("day=*/*.jsonl")):
        records = (parsed(line) for line in path.read_bytes().split(b"\n"))
        is_whole_day = gone.day is not None and path.parent.name == f"day={gone.day}"
        if is_whole_day or any(record and record["trace_uid"] in gone.uids for record in records):
            found.append(str(path.relative_to(warehouse.root)))
    return found


def hashes(warehouse: Warehouse) -> dict[str, str]:
    """Content hash of every artefact, by `artefact[key]`."""
    found = {}
    for folder in sorted(path for path in warehouse.root.glob("*") if path.is_dir()):
        for key in warehouse.keys(folder.name):
            header = warehouse.header(folder.name, key)
            if header is not None:
                found[f"{folder.name}[{key}]"] = header.content_hash
    base = warehouse.header(BASE, "")
    return {**found, BASE: base.content_hash} if base else found

"""Which scopes share an adapter when adapters are routed, and which old logs such an adapter needs again.

Numbers are given once: a scope keeps its group for ever, whatever is claimed later. Training a group's adapter is in
`models.bank`; how sequences are packed, in `shards`.
"""

from collections.abc import Mapping

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import Cycle, claimed_examples, cycles
from synde_pipeline.training.examples import Example


def groups_of(warehouse: Warehouse, cycle: Cycle, scopes_per_adapter: int) -> dict[str, int]:
    """Scope -> group number, of all scopes that the domain's cycles up to this one claimed.

    Groups fill up in the order of first claim: cycle by cycle, scopes of one cycle by name. The empty scope (ordinary
    logs) is a scope like any other. With 0 scopes an adapter, all share group 0.
    """
    seen: dict[str, int] = {}
    for before in cycles(warehouse):
        if before.domain == cycle.domain and before.number <= cycle.number:
            for scope in sorted({row["metadata"]["scope"] for row in claimed_examples(warehouse, before.key)}):
                seen.setdefault(scope, len(seen))
    return {scope: order // scopes_per_adapter if scopes_per_adapter else 0 for scope, order in seen.items()}


def replay_of_groups(
    groups: Mapping[str, int], new: Mapping[str, list[Example]], earlier: Mapping[str, list[Example]], domain: str
) -> list[str]:
    """Earlier trajectories that the groups of the new ones were trained on: their adapters start from scratch.

    Args:
        groups: scope -> group number.
        new: trajectories that the cycle claims, by uid.
        earlier: trajectories that earlier cycles claimed, by uid; those of other domains are left alone.
        domain: the cycle's.
    """
    touched = {groups[_place(rows)[1]] for rows in new.values()}
    places = {uid: _place(rows) for uid, rows in earlier.items()}
    return sorted(uid for uid, (where, scope) in places.items() if where == domain and groups.get(scope) in touched)


def _place(rows: list[Example]) -> tuple[str, str]:
    meta = rows[0]["metadata"]
    return meta["domain"], meta["scope"]


def replay_rule(config: TrainingConfig) -> str:
    """How a shard's old trajectories are chosen, in words that its lineage keeps."""
    if config.composition == "routed":
        return f"all of the touched groups of {config.scopes_per_adapter} scopes"
    return "a random share"

"""Which scopes share an adapter when adapters are routed, and which old logs such an adapter needs again.

Numbers are given once: a scope keeps its group for ever, whatever is claimed later. Training a group's adapter is in
`models.bank`; how sequences are packed, in `shards`.
"""

from collections import defaultdict
from collections.abc import Mapping

from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.cycles import Cycle, claimed_examples, cycles
from synde_pipeline.training.examples import Example
from synde_pipeline.training.replay import old_share


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
    groups: Mapping[str, int],
    new: Mapping[str, list[Example]],
    earlier: Mapping[str, list[Example]],
    domain: str,
    *,
    per_scope: int,
) -> list[str]:
    """Earlier trajectories of the groups of the new ones, whose adapters start from scratch: each scope's newest.

    The limit keeps a cycle's cost from growing with history, and lets old conventions be forgotten.

    Args:
        groups: scope -> group number.
        new: trajectories that the cycle claims, by uid.
        earlier: trajectories that earlier cycles claimed, by uid; those of other domains are left alone.
        domain: the cycle's.
        per_scope: trajectories of a scope at most.
    """
    touched = {groups[rows[0]["metadata"]["scope"]] for rows in new.values()}
    by_scope: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for uid, rows in earlier.items():
        meta = rows[0]["metadata"]
        if meta["domain"] == domain and groups.get(meta["scope"]) in touched:
            by_scope[meta["scope"]].append((meta["day"], uid))
    return sorted(uid for found in by_scope.values() for _, uid in sorted(found)[-per_scope:])


def replay_rule(config: TrainingConfig) -> str:
    """How a shard's old trajectories are chosen, short enough for an error: scopes an adapter x runs a scope."""
    if config.composition == "routed":
        return f"{config.scopes_per_adapter}x{config.replay_per_scope} newest"
    return f"random share of {old_share(config):g}"

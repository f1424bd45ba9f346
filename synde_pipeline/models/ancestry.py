"""From what was something made, and what was made from it: the graph of all artefacts, trajectories and memory items.

Edges come from the hashes that headers record, from manifests, and from the trajectories that shards and bases name.
Nothing is guessed: an edge whose source is gone leads to a node without a hash.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, NamedTuple

import pyarrow.parquet as pq

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.errors import InputError
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.memory.banks import bank_as_of
from synde_pipeline.memory.daily import DELTAS, MEMORY
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED
from synde_pipeline.models.registry import champion
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.buffer import SOURCE
from synde_pipeline.training.cycles import ARTEFACT as CYCLES
from synde_pipeline.training.cycles import claimed_examples
from synde_pipeline.training.daily import SHARDS

REPORTS = "eval_reports"
TRAJECTORIES, ITEMS, CHAMPION = "trajectories", "memory_items", "champion"
DAILY = (RAW_LOGS, REFLECTIONS, DELTAS, MEMORY, SOURCE)
_PUBLISHED = (*DAILY, BASE, CYCLES, SHARDS, ADAPTERS, MERGED, REPORTS)
_SHORTEST_HASH = 6

Way = Literal["up", "down"]


class Node(NamedTuple):
    """One thing in the graph; shown as `artefact[key]`."""

    artefact: str
    key: str

    def __str__(self) -> str:
        return f"{self.artefact}[{self.key}]" if self.key else self.artefact


@dataclass
class Graph:
    """All edges of a warehouse."""

    hashes: dict[Node, str] = field(default_factory=dict)
    parents: dict[Node, dict[Node, str]] = field(default_factory=lambda: defaultdict(dict))
    """Node -> what it was made from -> how."""
    children: dict[Node, dict[Node, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, parent: Node, child: Node, relation: str) -> None:
        """Say that the child was made from the parent; relations of the same two add up."""
        for edges, one, other in ((self.parents, child, parent), (self.children, parent, child)):
            known = edges[one].get(other)
            edges[one][other] = f"{known}, {relation}" if known and relation not in known else known or relation

    def tree(self, start: Node, way: Way) -> list[dict[str, Any]]:
        """Nested nodes in one direction, each expanded where it is met first.

        A trajectory leads to the cycles that hold it, not to all that its day's tables lead to; and a cycle to its own
        trajectories, not to all of their days.
        """
        seen: set[Node] = set()

        def expand(node: Node) -> list[dict[str, Any]]:
            found = []
            edges = (self.parents if way == "up" else self.children)[node]
            for other, relation in sorted(edges.items()):
                if not _belongs(start, node, other):
                    continue
                shown = {"artefact": other.artefact, "key": other.key, "hash": self.hashes.get(other, "")}
                shown |= {"relation": relation}
                if other in seen:
                    found.append({**shown, "seen": True, way: []})
                else:
                    seen.add(other)
                    found.append({**shown, way: expand(other)})
            return found

        return expand(start)

    def find(self, name: str) -> Node:
        """The node of a trajectory's uid, a memory item's id, a cycle's key, `artefact[key]` or the start of a hash.

        Raises:
            InputError: nothing has that name, or several things do.
        """
        artefact, _, rest = name.partition("[")
        exact = [Node(kind, name) for kind in (TRAJECTORIES, CYCLES, ITEMS)]
        exact += [Node(artefact, rest.removesuffix("]")), Node(name, "")]
        for node in exact:
            if node in self.hashes:
                return node
        found = [node for node, value in self.hashes.items() if len(name) >= _SHORTEST_HASH and value.startswith(name)]
        found += [node for node in self.hashes if node.artefact == ITEMS and len(name) >= _SHORTEST_HASH]
        found = sorted({n for n in found if self.hashes[n].startswith(name) or n.key.startswith(name)})
        if len(found) != 1:
            raise InputError(
                f"{name!r} is the name of {len(found) or 'nothing'}{' things' if found else ''}",
                expected=", ".join(map(str, found[:5]))
                or "a trajectory's uid, a memory item's id, a cycle, artefact[key], or a hash of 6 digits or more",
                remedy="`synde sql` lists uids, `synde status` counts artefacts",
            )
        return found[0]


def _belongs(start: Node, node: Node, other: Node) -> bool:
    """Whether a walk that began at `start` may step from `node` to `other`."""
    if start.artefact in (TRAJECTORIES, ITEMS):
        return not (node.artefact in DAILY and other.artefact not in DAILY)
    return not (other.artefact == TRAJECTORIES and node.artefact == RAW_LOGS and start.artefact not in DAILY)


def lineage(warehouse: Warehouse, name: str, config: MemoryConfig) -> dict[str, Any]:
    """Everything that one thing was made from (`up`) and that was made from it (`down`), as nested nodes.

    Raises:
        InputError: nothing has that name, or several things do.
    """
    graph = graph_of(warehouse, config)
    node = graph.find(name)
    return {
        "id": str(node),
        "kind": node.artefact,
        "hash": graph.hashes[node],
        "up": graph.tree(node, "up"),
        "down": graph.tree(node, "down"),
    }


def lineage_table(warehouse: Warehouse, artefact: str, key: str) -> list[dict[str, str]]:
    """What an artefact was directly made from, as flat rows for a page."""
    graph, header = Graph(), warehouse.header(artefact, key)
    if header is not None:
        _add_header(graph, warehouse, header)
    node = Node(artefact, key)
    return [
        {"relation": relation, "artefact": parent.artefact, "key": parent.key, "hash": _hash(warehouse, parent)}
        for parent, relation in sorted(graph.parents[node].items())
    ]


def _hash(warehouse: Warehouse, node: Node) -> str:
    header = warehouse.header(*node) if node.artefact in _PUBLISHED else None
    return header.content_hash if header else ""


# -- building the graph ---------------------------------------------------------------------------------------------


def graph_of(warehouse: Warehouse, config: MemoryConfig) -> Graph:
    """Read all headers, manifests and shards of a warehouse."""
    graph = Graph()
    for header in _headers(warehouse):
        graph.hashes[Node(header.artefact, header.key)] = header.content_hash
        _add_header(graph, warehouse, header)
    _add_trajectories(graph, warehouse)
    for item in bank_as_of(warehouse, config, date.max).items:
        graph.hashes[Node(ITEMS, item.item_id)] = item.item_id
        for support in item.supports:
            graph.add(Node(TRAJECTORIES, support.trace_uid), Node(ITEMS, item.item_id), "evidence for")
    for domain, served in champion(warehouse).domains.items():
        node = Node(CHAMPION, domain)
        graph.hashes[node] = served.model
        graph.add(Node(MERGED, served.cycle), node, "served as")
    return graph


def _headers(warehouse: Warehouse) -> Iterator[Header]:
    for artefact in _PUBLISHED:
        for key in [""] if artefact == BASE else warehouse.keys(artefact):
            header = warehouse.header(artefact, key)
            if header is not None:
                yield header


def _add_header(graph: Graph, warehouse: Warehouse, header: Header) -> None:
    """Edges that a header records."""
    node = Node(header.artefact, header.key)
    if header.artefact in (SHARDS, ADAPTERS, MERGED):
        graph.add(Node(BASE, ""), node, "on the base")
    for parent, relation in _recorded(warehouse, header):
        graph.add(parent, node, relation)


def _recorded(warehouse: Warehouse, header: Header) -> Iterator[tuple[Node, str]]:
    key = header.key
    match header.artefact:
        case artefact if artefact in DAILY:
            yield from ((Node(name, key), "made from") for name in DAILY if name in header.inputs)
        case "cycles":
            for claim in header.info["claims"]:
                yield Node(SOURCE, claim["day"]), f"{claim['n_trajectories']} trajectories claimed"
        case "training_shards":
            yield Node(CYCLES, key), "packed from"
        case "adapters":
            yield Node(SHARDS, key), "trained on"
            yield from ((Node(ADAPTERS, below), "trained on top of") for below in _below(warehouse, header))
        case "merged_models":
            yield from ((Node(ADAPTERS, row["cycle"]), "holds") for row in header.info["adapters"])
        case "eval_reports":
            yield Node(MERGED, key), "evaluated in"


def _below(warehouse: Warehouse, adapters: Header) -> Iterator[str]:
    """Cycles whose adapters an adapter was trained on top of, by the start of their hashes."""
    starts = [part.split("*")[-1] for part in adapters.inputs.get("on_top_of", "base").split(" + ")]
    for key in warehouse.keys(ADAPTERS) if starts != ["base"] else []:
        header = warehouse.header(ADAPTERS, key)
        if header is not None and header.content_hash.startswith(tuple(starts)):
            yield key


def _add_trajectories(graph: Graph, warehouse: Warehouse) -> None:
    """Where each trajectory is: its day, the cycles that claimed it, the shards that replay it or show its evidence."""
    for key in warehouse.keys(RAW_LOGS):
        for uid in _column(warehouse, RAW_LOGS, key, "trace_uid"):
            _say(graph, uid, Node(RAW_LOGS, key), "recorded in")
    for key in warehouse.keys(CYCLES):
        for uid in {row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, key)}:
            _say(graph, uid, Node(CYCLES, key), "claimed by")
    for key in warehouse.keys(SHARDS):
        _add_shard(graph, warehouse, key)
    _add_anchors(graph, warehouse)
    header = warehouse.header(BASE, "")
    for uid in header.info.get("trajectories", ()) if header else ():
        _say(graph, uid, Node(BASE, ""), "read by")


def _add_shard(graph: Graph, warehouse: Warehouse, key: str) -> None:
    uids, old = (_column(warehouse, SHARDS, key, name) for name in ("trace_uid", "is_replay"))
    for uid in {uid for uid, is_old in zip(uids, old, strict=True) if is_old}:
        _say(graph, uid, Node(SHARDS, key), "replayed in")
    for uid in set().union(*_column(warehouse, SHARDS, key, "memory_trajectories")):
        _say(graph, uid, Node(SHARDS, key), "shown as memory in")


def _column(warehouse: Warehouse, artefact: str, key: str, name: str) -> list[Any]:
    path: Any = warehouse.table_path(artefact, key)
    return pq.read_table(path, columns=[name], partitioning=None)[name].to_pylist()  # pyright: ignore[reportArgumentType]


def _say(graph: Graph, uid: str, node: Node, relation: str) -> None:
    graph.hashes.setdefault(Node(TRAJECTORIES, uid), "")
    graph.add(Node(TRAJECTORIES, uid), node, relation)


def _add_anchors(graph: Graph, warehouse: Warehouse) -> None:
    """Routed adapters with anchors may have been held in place by any sequence of their shard's other groups."""
    for key in warehouse.keys(ADAPTERS):
        header = warehouse.header(ADAPTERS, key)
        if header is None or not header.info["config"].get("anchors") or len(header.info.get("groups", ())) < 2:
            continue
        for uid in [*header.info["trajectories"], *header.info["replayed"]]:
            _say(graph, uid, Node(ADAPTERS, key), "may anchor the other groups of")

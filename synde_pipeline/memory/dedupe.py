"""Items that say the same -> clusters with one survivor each. Pure; the order of the items does not matter.

The rule. Two items are alike if they have the same domain, scope and kind, the cosine of their vectors reaches the
threshold, and `memory.distinct` has nothing against it. Then, until none is left: the item with the largest sum of
similarities to its unclustered alike items becomes a medoid; these join it, the most similar first, unless they must
be kept apart from one that joined before. Ties go to the smaller `item_id`.

Why this rule: all members are within the threshold of the medoid, so nothing chains; the medoid says what most others
say; it reads similarities only, rounded, so no order of arrival and no seed matters; an unrelated item changes nothing;
and no two survivors are alike, save those that a guard keeps from each other's members. Complete linkage would leave
alike survivors behind, which is what a dedupe is for; greedy from the first seed depends on the order.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.memory.distinct import Reading, differ, read, said
from synde_pipeline.records import MemoryItem

_BLOCK = 1024
"""Rows of the similarity matrix that exist at once."""
_DIGITS = 5
"""Decimals of a cosine that count: the last bits depend on batch shape and machine."""


def dedupe_text(item: MemoryItem) -> str:
    """The item as an agent reads it, without counts of evidence: what is compared, and what the vectors embed."""
    return said(f"{item.title}. {item.description} {item.content}")


def merge_groups(items: Sequence[MemoryItem], vectors: NDArray[np.float32], threshold: float) -> list[tuple[int, ...]]:
    """Cluster the items that say the same.

    Args:
        items: drafts of any domains, scopes and kinds, with distinct ids per (domain, scope, kind).
        vectors: unit vectors of `dedupe_text(item)`, shape (n, d), in the order of the items.
        threshold: least cosine of a member to its medoid.

    Returns:
        Clusters as indices, the medoid first, then members by id; every index once; clusters in order of their
        medoids' (domain, scope, kind, id).
    """
    ids = [(item.domain, item.scope, item.kind, item.item_id) for item in items]
    order = sorted(range(len(items)), key=lambda at: ids[at])
    readings = [read(dedupe_text(item)) for item in items]
    blocks: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for at in order:
        blocks[(*ids[at][:3], readings[at].key)].append(at)
    groups: list[tuple[int, ...]] = []
    for block in blocks.values():
        found = _clusters(vectors[block], [readings[at] for at in block], threshold) if len(block) > 1 else [[0]]
        groups += [tuple(block[at] for at in cluster) for cluster in found]
    return sorted(groups, key=lambda group: ids[group[0]])


def _clusters(vectors: NDArray[np.float32], readings: Sequence[Reading], threshold: float) -> list[list[int]]:
    """Clusters of one block, whose rows are in order of their ids."""
    alike = _alike(vectors, readings, threshold)
    weight = [sum(near.values()) for near in alike]
    heap = [(-total, at) for at, total in enumerate(weight)]
    heapq.heapify(heap)
    free = set(range(len(readings)))
    clusters: list[list[int]] = []
    while heap:
        total, medoid = heapq.heappop(heap)
        if medoid not in free or -total != weight[medoid]:
            continue  # clustered meanwhile, or an entry that a later one replaced
        members = [medoid]
        for at in sorted(alike[medoid].keys() & free, key=lambda at: (-alike[medoid][at], at)):
            if all(at in alike[other] or not differ(readings[at], readings[other]) for other in members):
                members.append(at)
        clusters.append([medoid, *sorted(members[1:])])
        free.difference_update(members)
        for member in members:
            for at, similarity in alike[member].items():
                if at in free:
                    weight[at] -= similarity
                    heapq.heappush(heap, (-weight[at], at))
    return clusters


def _alike(vectors: NDArray[np.float32], readings: Sequence[Reading], threshold: float) -> list[dict[int, int]]:
    """For each row its alike rows with their cosine in units of the last digit: exact to add in any order."""
    alike: list[dict[int, int]] = [{} for _ in readings]
    for left, right, similarity in _near(vectors, threshold):
        if not differ(readings[left], readings[right]):
            alike[left][right] = alike[right][left] = similarity
    return alike


def _near(vectors: NDArray[np.float32], threshold: float) -> Iterator[tuple[int, int, int]]:
    """Pairs of rows whose cosine reaches the threshold."""
    scale = 10**_DIGITS
    least = round(threshold * scale)
    for start in range(0, len(vectors), _BLOCK):
        block = np.rint(vectors[start : start + _BLOCK] @ vectors[start:].T * scale).astype(np.int32)
        for row, column in np.argwhere(np.triu(block >= least, 1)):
            yield start + int(row), start + int(column), int(block[row, column])

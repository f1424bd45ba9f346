"""Whether two served models are the same function: by their effective weights, not by their files.

delta W = s B A is compared, so that a copy, a rescaled copy (2 A, B / 2) or another split into files is found out.
"""

from collections.abc import Mapping

from synde_pipeline.models.bank import served_rows
from synde_pipeline.models.compose import ADAPTERS, Entry
from synde_pipeline.models.merge import MERGED
from synde_pipeline.models.registry import Served
from synde_pipeline.models.route import Place
from synde_pipeline.models.serve_as import cat_adapter, read_ledger
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.lora import AdapterWeights, read

TOLERANCE = 1e-6
"""Relative distance in the Frobenius norm below which weights are the same; float32 keeps seven digits."""
EVERYWHERE: Place = ("", "")
"""Where a merged model acts."""


def is_same(warehouse: Warehouse, new: Served, old: Served | None, base_hash: str) -> bool:
    """Whether a candidate does what the champion does, or nothing where the base alone is served.

    Raises:
        LineageError: an adapter of either is not the recorded one.
    """
    mine, theirs = _acting(warehouse, new, base_hash), _acting(warehouse, old, base_hash)
    return all(
        distance(mine.get(place, NO_ADAPTER), theirs.get(place, NO_ADAPTER)) < TOLERANCE for place in {*mine, *theirs}
    )


NO_ADAPTER = AdapterWeights(1.0, {})


def _acting(warehouse: Warehouse, served: Served | None, base_hash: str) -> Mapping[Place, AdapterWeights]:
    if served is None:
        return {}
    if served.kind == "bank":
        found = {}
        for row in served_rows(warehouse, served, base_hash):
            adapter = read(warehouse.folder(ADAPTERS, row.cycle) / row.folder)
            found |= dict.fromkeys(row.places, adapter)
        return found
    header = warehouse.header(MERGED, served.cycle)
    rows = header.info["adapters"] if header else []
    entries = [Entry(row["cycle"], row["adapter"], row["alpha"]) for row in rows]
    return {EVERYWHERE: cat_adapter(read_ledger(warehouse, entries))}


def distance(a: AdapterWeights, b: AdapterWeights) -> float:
    """|delta W_a - delta W_b| over the larger of the two norms (Frobenius, all modules); 0 where both are zero."""
    if a is b:
        return 0.0
    aa, bb, ab = _inner(a, a), _inner(b, b), _inner(a, b)
    largest = max(aa, bb)
    return (max(aa + bb - 2 * ab, 0.0) / largest) ** 0.5 if largest > 0 else 0.0


def _inner(a: AdapterWeights, b: AdapterWeights) -> float:
    """<delta W_a, delta W_b> = s_a s_b tr(B_a^T B_b A_b A_a^T), without the matrices themselves."""
    total = 0.0
    for name in a.matrices.keys() & b.matrices.keys():
        (a_in, a_out), (b_in, b_out) = a.matrices[name], b.matrices[name]
        outs = a_out.double().T @ b_out.double()  # (rank_a, rank_b)
        total += float((outs * (a_in.double() @ b_in.double().T)).sum())
    return a.scale * b.scale * total

"""`memory_deltas[D]` (Parquet) and `curated_memory[D]` (that day's rows in LanceDB), people's edits included."""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import check_inputs, fresh_header
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.edits import EDITS, edits_hash, read_edits
from synde_pipeline.memory.embed import get_embedder, is_remote, pinned_name
from synde_pipeline.memory.store import from_table, replace_day, to_table
from synde_pipeline.memory.vectors import KeptVectors
from synde_pipeline.records import content_hash
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import load_reflections
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Header, Warehouse, write_atomically

DELTAS = "memory_deltas"
MEMORY = "curated_memory"

Vectors = dict[str, NDArray[np.float32]]
"""Text -> its vector, (dim,)."""


def publish_deltas(warehouse: Warehouse, day: date, config: MemoryConfig) -> Header:
    """Write the day's deltas with their embeddings: a pure function of the day's reflections and of people's edits.

    The content hash leaves the vectors out (their last bits differ between machines) and names the embedder instead.

    Raises:
        LineageError: the day's reflections are missing or stale, or an edit was tampered with.
    """
    while True:
        header = _publish_deltas(warehouse, day, config)
        if header.inputs.get(EDITS, "") == edits_hash(warehouse, day):  # nobody edited meanwhile
            return header


def _publish_deltas(warehouse: Warehouse, day: date, config: MemoryConfig) -> Header:
    source = fresh_header(warehouse, REFLECTIONS, str(day), {RAW_LOGS: str(day)})
    edited = edits_hash(warehouse, day)
    deltas = [delta for reflection in load_reflections(warehouse, day) for delta in deltas_of(reflection, day)]
    deltas += read_edits(warehouse, day)
    deltas.sort(key=lambda delta: delta.delta_id)
    embedder = pinned_name(config.embedder)
    header = Header(
        artefact=DELTAS,
        key=str(day),
        content_hash=content_hash({"deltas": [delta.delta_id for delta in deltas], "embedder": embedder}),
        inputs={REFLECTIONS: source.content_hash} | ({EDITS: edited} if edited else {}),
        counts={"deltas": len(deltas), "lessons": sum(delta.op == "ADD" for delta in deltas)},
        info={"embedder": embedder},
    )
    texts = [delta.key_text for delta in deltas]
    known = _paid_for(warehouse, day, embedder, texts) if is_remote(embedder) else {}
    return warehouse.publish_table(header, to_table(deltas, _vectors(texts, embedder, known)))


def _vectors(texts: list[str], embedder: str, known: Vectors) -> NDArray[np.float32] | None:
    """A row for each text, equal texts embedded once; None for no texts: an empty day needs no model.

    What has no text (tags, most edits) has zeros for a vector: LanceDB takes no row without one.
    """
    if not texts:
        return None
    missing = sorted(set(texts) - {""} - known.keys())
    found = (
        {**known, **dict(zip(missing, get_embedder(embedder).embed(missing), strict=True))} if missing else {**known}
    )
    if "" in texts:
        dim = len(next(iter(found.values()))) if found else get_embedder(embedder).dim
        found[""] = np.zeros(dim, np.float32)
    return np.stack([found[text] for text in texts])


def _paid_for(warehouse: Warehouse, day: date, embedder: str, texts: list[str]) -> Vectors:
    """Vectors of a day's texts by an embedder that costs: the day's own of before, those that are kept, and new ones.

    So making a day again, or removing one of its trajectories, asks for nothing that was asked for before.
    """
    known: Vectors = {}
    before = warehouse.header(DELTAS, str(day))
    if before is not None and before.info["embedder"] == embedder:
        deltas, vectors = from_table(warehouse.read_table(DELTAS, str(day)))
        known = {delta.key_text: vector for delta, vector in zip(deltas, vectors, strict=True) if delta.key_text}
    kept = KeptVectors(warehouse, embedder)
    missing = sorted(set(texts) - {""} - known.keys())
    return {**known, **kept.find_or_ask(missing, get_embedder(embedder))} if missing else known


def fresh_deltas(warehouse: Warehouse, day: date) -> Header:
    """Header of a day's deltas, which were made from the reflections and the edits that are there now.

    Raises:
        LineageError: they are missing or stale.
    """
    header = fresh_header(warehouse, DELTAS, str(day), {REFLECTIONS: str(day)})
    edited = edits_hash(warehouse, day)
    if edited or EDITS in header.inputs:
        check_inputs(header, {EDITS: edited})
    return header


def check_embedder(warehouse: Warehouse, config: MemoryConfig) -> None:
    """Refuse vectors that another embedder made: the two cannot be compared.

    Raises:
        LineageError: a day's vectors are another embedder's.
    """
    expected = pinned_name(config.embedder)
    for key in warehouse.keys(MEMORY):
        header = warehouse.header(MEMORY, key)
        if header and header.info["embedder"] != expected:
            raise LineageError(
                f"{MEMORY}[{key}] was embedded by {header.info['embedder']}",
                expected=expected,
                remedy="set SYNDE_EMBEDDER back, or `synde run` to embed every landed day again",
            )


def publish_memory(warehouse: Warehouse, day: date) -> Header:
    """Replace the day's rows in LanceDB by its deltas, all at once; unchanged rows are left alone.

    Raises:
        LineageError: the day's deltas are missing or stale.
    """
    source = fresh_deltas(warehouse, day)
    header = Header(
        artefact=MEMORY,
        key=str(day),
        content_hash=source.content_hash,
        inputs={DELTAS: source.content_hash},
        counts={"rows": source.counts["deltas"]},
        info=source.info,
    )
    if warehouse.header(MEMORY, str(day)) != header:
        replace_day(warehouse, day, warehouse.read_table(DELTAS, str(day)))
        write_atomically(warehouse.path(MEMORY, str(day)) / "current.json", header.model_dump_json(indent=1))
    return header

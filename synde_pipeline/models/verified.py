"""Whether a candidate's files are what they are recorded to be: bytes, numbers, fit and lineage.

Recorded inputs are compared by `merge.fresh_merged` (law 6); here the files themselves are read.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from synde_pipeline.base_model import Base
from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import FILE
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.serve_as import is_collected
from synde_pipeline.storage import Header, Warehouse, files_hash
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.lora import AdapterWeights, read

WEIGHTS = "adapter_model.safetensors"


def broken_files(warehouse: Warehouse, model: Header, base: Base) -> list[str]:
    """What is wrong with the files of a candidate and of every adapter in it; empty where nothing is.

    Args:
        warehouse: where they lie.
        model: header of `merged_models[cycle]`.
        base: what the adapters must fit.
    """
    found = []
    for header in [model, *_adapters(warehouse, model)]:
        if header is not model and is_collected(warehouse, header):
            found.append(f"{header.artefact}[{header.key}]: its folder is missing")
        elif not is_collected(warehouse, header):
            folder = warehouse.folder(header.artefact, header.key)
            now = files_hash(folder, without=[FILE])
            if now != header.content_hash:
                found.append(
                    f"{header.artefact}[{header.key}]: its files are {now[:12]}, recorded {header.content_hash[:12]}"
                )
            if header.artefact == ADAPTERS:
                found += [f"{ADAPTERS}[{header.key}]/{name}" for name in _unusable(folder, base)]
    return found


def foreign_lineage(warehouse: Warehouse, model: Header) -> list[str]:
    """Adapters of a candidate whose own lineage names other inputs than are recorded; empty where none does."""
    found = []
    for header in [model, *_adapters(warehouse, model)]:
        if is_collected(warehouse, header):
            continue
        path = warehouse.folder(header.artefact, header.key) / FILE
        try:
            said = json.loads(path.read_text("utf-8"))["inputs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            found.append(f"{header.artefact}[{header.key}]: {FILE} cannot be read ({type(error).__name__})")
            continue
        odd = sorted(name for name in {*said, *header.inputs} if said.get(name) != header.inputs.get(name))
        if odd:
            was, now = (str(names.get(odd[0], "nothing"))[:12] for names in (said, header.inputs))
            found.append(f"{header.artefact}[{header.key}] was made from {odd[0]} {was}, recorded {now}")
    return found


def _adapters(warehouse: Warehouse, model: Header) -> Iterable[Header]:
    for key in sorted({row["cycle"] for row in model.info["adapters"]}):
        header = warehouse.header(ADAPTERS, key)
        if header is not None:
            yield header


def _unusable(folder: Path, base: Base) -> list[str]:
    """Adapters of a folder that cannot be read, hold numbers that are none, or do not fit the base."""
    from safetensors import SafetensorError

    found = []
    for path in sorted(folder.rglob(WEIGHTS)):
        name = str(path.parent.relative_to(folder))
        try:
            adapter = read(path.parent)
            if not _is_finite(adapter):
                found.append(f"{name}: weights that are no finite numbers")
                continue
            AdapterBank.of(base.model, [adapter]).remove()
        except (SafetensorError, OSError, ValueError, KeyError, StopIteration, LineageError) as error:
            found.append(f"{name}: {WEIGHTS} cannot be used ({type(error).__name__}: {str(error)[:160]})")
    return found or ([] if any(folder.rglob(WEIGHTS)) else [f": no {WEIGHTS}"])


def _is_finite(adapter: AdapterWeights) -> bool:
    return all(bool(a.isfinite().all() and b.isfinite().all()) for a, b in adapter.matrices.values())

"""A ledger as it is served: one merged model, or one exact adapter of rank k beside the base (law 7 holds for both).

Writing either into a folder, loading it, and making one again that `gc` collected. Banks are in `bank`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.base_model import load_folder, pinned, pinned_folder
from synde_pipeline.errors import LineageError
from synde_pipeline.lineage import FILE, write_lineage
from synde_pipeline.models.compose import ADAPTERS, Entry, add_adapters
from synde_pipeline.models.stream import merge_files, weight_files
from synde_pipeline.settings_slow import ModelsConfig
from synde_pipeline.storage import Header, Warehouse, files_hash
from synde_pipeline.training.lora import AdapterWeights, read, write

MERGED = "merged_models"

Kind = Literal["merged", "adapter"]

_LARGE = 1_000_000_000
"""Bytes of a base above which `auto` takes the adapter: a copy of the weights for every cycle is too much."""


def kind_for(base: Path, config: ModelsConfig) -> Kind:
    """How a ledger on this base is served."""
    if config.serve_as != "auto":
        return config.serve_as
    return "adapter" if sum((base / file).stat().st_size for file in weight_files(base)) > _LARGE else "merged"


def cat_adapter(adapters: Sequence[tuple[AdapterWeights, float]]) -> AdapterWeights:
    """One adapter that equals sum alpha * scale * B @ A exactly: A matrices stacked, alpha * scale * B side by side.

    Its rank is the sum of the ranks, its scale 1. A module that an adapter leaves alone gets zeros in its place.
    """
    import torch

    shapes = {
        module: (a.shape[1], b.shape[0]) for adapter, _ in adapters for module, (a, b) in adapter.matrices.items()
    }
    matrices = {}
    for module, (n_in, n_out) in sorted(shapes.items()):
        parts = []
        for adapter, alpha in adapters:
            rank = next(iter(adapter.matrices.values()))[0].shape[0]
            a, b = adapter.matrices.get(module, (torch.zeros(rank, n_in), torch.zeros(n_out, rank)))
            parts.append((a.float(), (alpha * adapter.scale) * b.float()))
        matrices[module] = (torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts], dim=1))
    return AdapterWeights(1.0, matrices, any(adapter.transposed for adapter, _ in adapters))


def read_ledger(warehouse: Warehouse, entries: Iterable[Entry]) -> list[tuple[AdapterWeights, float]]:
    """The adapters of a ledger with their factors.

    Raises:
        LineageError: one of them is not the one that the ledger names.
    """
    found = []
    for entry in entries:
        header = warehouse.header(ADAPTERS, entry.cycle)
        if header is None or header.content_hash != entry.adapter_hash:
            raise LineageError(
                f"{ADAPTERS}[{entry.cycle}] is {header.content_hash[:12] if header else 'missing'}",
                expected=f"{entry.adapter_hash[:12]}, which the model holds",
                remedy=f"run cycle {entry.cycle} again, or restore its adapters",
            )
        found.append((read(warehouse.folder(ADAPTERS, entry.cycle)), entry.alpha))
    return found


def write_ledger(warehouse: Warehouse, entries: Sequence[Entry], kind: Kind, out: Path) -> None:
    """Fill a folder with the merged model, or with the one exact adapter in PEFT's format.

    Raises:
        LineageError: an adapter is not the recorded one, or does not fit the base.
    """
    adapters = read_ledger(warehouse, entries)
    if kind == "merged":
        merge_files(pinned_folder(warehouse), adapters, out)
        return
    base, one = pinned(warehouse), cat_adapter(adapters)
    write(one, out, (base.info["name"], base.info["revision"]), transposed=one.transposed)


def load_ledger(warehouse: Warehouse, header: Header) -> Any:
    """The model of `merged_models[cycle]`, in float32, with its one adapter added where it is one.

    Raises:
        LineageError: its files were collected, or it belongs to another base.
    """
    folder = warehouse.folder(MERGED, header.key)
    if is_collected(warehouse, header):
        raise LineageError(
            f"the files of {MERGED}[{header.key}] were collected by `synde gc`",
            remedy=f"materialise {MERGED} for {header.key}: it is made again from its adapters",
        )
    if header.info.get("kind") != "adapter":
        return load_folder(folder, header).model
    base = pinned(warehouse)
    if header.inputs["base_model"] != base.content_hash:
        raise LineageError(f"{MERGED}[{header.key}] belongs to another base than {base.info['name']}")
    return add_adapters(load_folder(pinned_folder(warehouse), base).model, [(read(folder), 1.0)])


def is_collected(warehouse: Warehouse, header: Header) -> bool:
    """Whether only a model's header is left."""
    return not warehouse.folder(header.artefact, header.key).is_dir()


def restore(warehouse: Warehouse, header: Header) -> None:
    """Make a collected model again from the adapters that it records; call it under the training lease.

    Raises:
        LineageError: an adapter is not the recorded one, or the result differs from what was collected.
    """
    if not is_collected(warehouse, header):
        return
    entries = [Entry(row["cycle"], row["adapter"], row["alpha"]) for row in header.info["adapters"]]

    def fill(folder: Path) -> None:
        write_ledger(warehouse, entries, header.info["kind"], folder)
        write_lineage(folder, warehouse, header.inputs, header.info)

    def describe(folder: Path) -> Header:
        found = files_hash(folder, without=[FILE])
        if found != header.content_hash:
            raise LineageError(
                f"{header.artefact}[{header.key}] was made again as {found[:12]}",
                expected=f"{header.content_hash[:12]}, which was collected",
                remedy=f"materialise {header.artefact} for {header.key}, and evaluate it again",
            )
        return header

    warehouse.publish_folder(header.artefact, header.key, fill, describe)

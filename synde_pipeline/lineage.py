"""Lineage that is checked on reading: an artefact made from other inputs than those at hand is refused (law 6)."""

import json
from pathlib import Path
from typing import Any

from synde_pipeline.errors import LineageError
from synde_pipeline.storage import Header, Warehouse


def check_inputs(header: Header, expected: dict[str, str]) -> None:
    """Compare an artefact's recorded inputs with the hashes of what lies in the warehouse now.

    Raises:
        LineageError: one of them differs; the message names found, expected and the remedy.
    """
    for name, found_now in expected.items():
        recorded = header.inputs.get(name)
        if recorded != found_now:
            raise LineageError(
                f"{header.artefact}[{header.key}] was made from {name} {(recorded or 'nothing')[:12]}",
                expected=f"{name} {found_now[:12]}, which is in the warehouse now",
                remedy=f"materialise {header.artefact} for {header.key} again",
            )


def fresh_header(warehouse: Warehouse, artefact: str, key: str, upstream: dict[str, str]) -> Header:
    """Header of a partition whose recorded inputs match the current upstream partitions.

    Args:
        warehouse: where both lie.
        artefact: what is about to be read.
        key: its partition.
        upstream: name of an input artefact -> its partition key.

    Raises:
        LineageError: the partition is missing, or stale against one of its inputs.
    """
    header = warehouse.header(artefact, key)
    if header is None:
        raise LineageError(f"{artefact}[{key}] is missing", remedy=f"materialise {artefact} for {key} first")
    now = {name: warehouse.header(name, input_key) for name, input_key in upstream.items()}
    check_inputs(header, {name: found.content_hash if found else "nothing" for name, found in now.items()})
    return header


def write_lineage(folder: Path, inputs: dict[str, str], info: dict[str, Any]) -> None:
    """Write `lineage.json`: what a folder artefact was made from, and what is worth knowing of it."""
    (folder / "lineage.json").write_text(json.dumps({"inputs": inputs, **info}, indent=1), "utf-8")

"""Lineage that is checked on reading: an artefact made from other inputs than those at hand is refused (law 6).

Folders carry it in `lineage.json` too, with facts that explain and decide nothing.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.base_model import base_folder, tokenizer_hash
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


FILE = "lineage.json"
"""In every folder artefact; no part of its content hash, because it names the version of the code."""


def write_lineage(folder: Path, warehouse: Warehouse, inputs: Mapping[str, str], info: Mapping[str, Any]) -> None:
    """Write what a folder was made from: hashes of its inputs, base, tokenizer, code version, settings and seed.

    Args:
        folder: of the artefact.
        warehouse: whose base it stands on.
        inputs: content hashes by name.
        info: more facts; `config` is shown as the settings, with its seed.
    """
    settings = info.get("config")
    about = {
        **{name: value for name, value in info.items() if name != "config"},
        "inputs": dict(inputs),
        "base": _base(warehouse),
        "code_version": code_version(),
        "settings": settings,
        "seed": settings.get("seed") if isinstance(settings, Mapping) else None,
    }
    (folder / FILE).write_text(json.dumps(about, indent=1, ensure_ascii=False), "utf-8")


def _base(warehouse: Warehouse) -> dict[str, Any] | None:
    header = warehouse.header(BASE, "")
    if header is None:
        return None
    return {
        "id": header.info["name"],
        "revision": header.info["revision"],
        "hash": header.content_hash,
        "tokenizer_hash": _tokenizer_hash(base_folder(warehouse, header), header.content_hash),
    }


@lru_cache(maxsize=8)
def _tokenizer_hash(folder: Path, _: str) -> str:
    return tokenizer_hash(folder)


@lru_cache(maxsize=1)
def code_version() -> str:
    """Version of the installed package."""
    try:
        return version("synde")
    except PackageNotFoundError:
        return "not installed"

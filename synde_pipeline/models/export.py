"""Taking a model out of the warehouse: its adapters as plain PEFT folders, one exact adapter, or the merged model."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from synde_pipeline.base_model import pinned
from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.models.bank import TABLE
from synde_pipeline.models.compose import ADAPTERS, Entry
from synde_pipeline.models.serve_as import MERGED, Kind, write_ledger
from synde_pipeline.storage import STAGE, Header, Warehouse, read_json

Form = Literal["adapters", "cat", "merged"]
"""adapters: each adapter of the ledger or the bank as a PEFT folder of its own, with its key. cat: one exact adapter of
rank k. merged: a model with all of them added."""

_KINDS: dict[str, Kind] = {"cat": "adapter", "merged": "merged"}


def form_of(text: str) -> Form:
    """The form that a word names.

    Raises:
        InputError: it names none.
    """
    for form in get_args(Form):
        if form == text:
            return form
    raise InputError(f"--as is {text!r}", expected=" or ".join(get_args(Form)))


def export(warehouse: Warehouse, models: Sequence[Header], out: Path, form: Form) -> dict[str, Any]:
    """Write models to a folder that appears whole or not at all.

    Args:
        warehouse: where they lie.
        models: headers of `merged_models`, of different domains.
        out: a folder that does not exist, or is empty.
        form: of what is written; several domains are several folders, but for `adapters`.

    Returns:
        What was written: `out`, `form`, and one row for each folder.

    Raises:
        InputError: the folder holds something already, or a bank shall become one model.
        LineageError: an adapter is not the one that the model holds.
    """
    if not models:
        raise InputError("there is no champion to export", remedy="name a cycle with --cycle")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists and is not empty", expected="a new folder", remedy="name another one with --out"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(dir=out.parent, prefix=STAGE))
    try:
        rows = []
        for model in models:
            where = stage if form == "adapters" or len(models) == 1 else stage / model.info["domain"]
            rows += _write(warehouse, model, where, form)
        stage.chmod(0o755)
        stage.replace(out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    for row in rows:
        row["folder"] = str(out / Path(row["folder"]).relative_to(stage))
    return {"out": str(out), "form": form, "folders": rows}


def _write(warehouse: Warehouse, model: Header, where: Path, form: Form) -> list[dict[str, Any]]:
    if form == "adapters":
        return [_adapter(warehouse, row, where, model) for row in model.info["adapters"]]
    if model.info.get("kind") == "bank":
        raise InputError(
            f"{model.key} is a bank: its adapters were trained to be routed, and their sum is no model of any use",
            expected="--as adapters",
            remedy="consolidate the domain with composition `joint` or `sequential` for one model",
        )
    where.mkdir(parents=True, exist_ok=True)
    entries = [Entry(row["cycle"], row["adapter"], row["alpha"]) for row in model.info["adapters"]]
    write_ledger(warehouse, entries, _KINDS[form], where)
    _write_lineage(where, {**_identity(warehouse, model), "adapters": model.info["adapters"]})
    return [{"cycle": model.key, "domain": model.info["domain"], "folder": str(where), "alpha": 1.0}]


def _adapter(warehouse: Warehouse, row: dict[str, Any], where: Path, model: Header) -> dict[str, Any]:
    """One PEFT folder, named by cycle and group, with the key by which a task is routed to it."""
    header = warehouse.header(ADAPTERS, row["cycle"])
    if header is None or header.content_hash != row["adapter"]:
        raise LineageError(
            f"{ADAPTERS}[{row['cycle']}] is not {row['adapter'][:12]}, which {model.key} holds",
            remedy=f"run cycle {row['cycle']} again, or restore its adapters",
        )
    source, name = warehouse.folder(ADAPTERS, row["cycle"]), row["cycle"]
    key: dict[str, Any] | None = None
    if "folder" in row:
        source, name = source / row["folder"], f"{row['cycle']}-{row['folder']}"
        held = read_json(warehouse.folder(ADAPTERS, row["cycle"]) / TABLE)
        key = next(line["key"] for line in held if line["folder"] == row["folder"])
    target = where / name
    target.mkdir(parents=True)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(source / file, target / file)
    about = {"cycle": row["cycle"], "adapter": row["adapter"], "inputs": header.inputs, "alpha": row["alpha"]}
    learned = {"trajectories": header.info.get("trajectories", []), "replayed": header.info.get("replayed", [])}
    _write_lineage(target, {**_identity(warehouse, model), **about, **learned})
    if key is not None:
        (target / "key.json").write_text(json.dumps(key, indent=1) + "\n", "utf-8")
    scopes = row.get("scopes")
    found = {"cycle": row["cycle"], "domain": model.info["domain"], "folder": str(target), "alpha": row["alpha"]}
    return found if scopes is None else {**found, "scopes": scopes}


def _identity(warehouse: Warehouse, model: Header) -> dict[str, Any]:
    base = pinned(warehouse)
    return {
        "model": {"cycle": model.key, "domain": model.info["domain"], "hash": model.content_hash},
        "base": {"name": base.info["name"], "revision": base.info["revision"], "hash": base.content_hash},
    }


def _write_lineage(folder: Path, about: dict[str, Any]) -> None:
    (folder / "lineage.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def served_headers(warehouse: Warehouse, served: dict[str, Any]) -> list[Header]:
    """Headers of what is served.

    Raises:
        LineageError: a model lies there that is not the one that is served.
    """
    found = []
    for one in served.values():
        header = warehouse.header(MERGED, one.cycle)
        if header is None or header.content_hash != one.model:
            raise LineageError(
                f"{MERGED}[{one.cycle}] is not {one.model[:12]}, which is served",
                remedy=f"evaluate cycle {one.cycle} again, or roll back",
            )
        found.append(header)
    return found

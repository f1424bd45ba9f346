"""Finding leaks: what native logs hide from the agent, and every text that a warehouse stores."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_BY_CHANCE = re.compile(r".{0,5}|[\d.,$-]{0,7}|[A-Z_]+")
"""Sizes, prices and enumeration words turn up anywhere: they prove nothing."""


def leaked_texts(*folders: Path) -> set[str]:
    """Instruction sentences and expected arguments in native logs that no agent ever saw in any of them."""
    hidden: set[str] = set()
    seen: set[str] = set()
    for path in sorted(path for folder in folders for path in folder.rglob("*.json")):
        document = json.loads(path.read_text("utf-8"))
        for secret, visible in _tau(document) if isinstance(document, list) else _tau2(document):
            hidden |= _pieces(secret)
            seen.add(visible)
    everything = "\n".join(seen).encode("utf-8")
    return {text for text in hidden if text.encode("utf-8") not in everything}


def _tau(rows: list) -> list[tuple[Any, str]]:
    return [(row["info"]["task"], _texts_of(row["traj"])) for row in rows if row["info"].get("task")]


def _tau2(document: dict) -> list[tuple[Any, str]]:
    secrets = [
        {name: task[name] for name in ("user_scenario", "evaluation_criteria", "description") if name in task}
        for task in document["tasks"]
    ]
    policy = document["info"]["environment_info"].get("policy") or ""
    guidelines = (document["info"].get("user_info") or {}).get("global_simulation_guidelines") or ""
    visible = policy + _texts_of([simulation["messages"] for simulation in document["simulations"]])
    return [(secret, visible) for secret in [*secrets, guidelines]]


def _texts_of(value: Any) -> str:
    """All strings of a structure, those inside JSON texts (tool arguments) included."""
    if isinstance(value, dict):
        return "\n".join(_texts_of(part) for part in value.values())
    if isinstance(value, list):
        return "\n".join(_texts_of(part) for part in value)
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return f"{value}\n{_texts_of(json.loads(value))}"
        except json.JSONDecodeError:
            return value
    return str(value)


def _pieces(secret: Any) -> set[str]:
    strings = [line for line in _texts_of(secret).split("\n") if line.strip()]
    pieces = {part.strip() for line in strings for part in re.split(r"(?<=[.!?])\s+", line)}
    return {piece for piece in pieces if not _BY_CHANCE.fullmatch(piece)}


def stored_texts(home: Path) -> dict[bytes, str]:
    """UTF-8 text -> a file that stores it: each string of Parquet and Lance once, everything else as it lies there."""
    stored: dict[bytes, str] = {}
    for path in sorted(home.rglob("*")):
        if path.suffix == ".parquet":
            _collect(pq.read_table(path, partitioning=None), str(path), stored)
            stored |= dict.fromkeys((pq.read_schema(path).metadata or {}).values(), str(path))
        elif path.is_file() and ".lance" not in str(path):
            stored[path.read_bytes()] = str(path)
    lance = home / "warehouse" / "curated_memory" / "lance"
    if lance.is_dir():
        import lancedb

        database = lancedb.connect(lance)
        for name in database.list_tables().tables:
            _collect(database.open_table(name).to_arrow(), f"{lance}/{name}", stored)
    return stored


def found_leaks(hidden: set[str], stored: dict[bytes, str]) -> list[tuple[str, str]]:
    """(hidden text, file) for every hidden text that something stored holds."""
    everything = b"\0".join(stored)
    leaked = [text for text in hidden if text.encode("utf-8") in everything]
    return [(text, where) for text in leaked for content, where in stored.items() if text.encode("utf-8") in content]


def _collect(table: pa.Table, where: str, stored: dict[bytes, str]) -> None:
    names = [field.name for field in table.schema if not pa.types.is_fixed_size_list(field.type)]
    _strings_of(table.select(names).to_pylist(), where, stored)


def _strings_of(value: Any, where: str, stored: dict[bytes, str]) -> None:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _strings_of(part, where, stored)
    elif isinstance(value, str | bytes):
        stored[value.encode("utf-8") if isinstance(value, str) else value] = where

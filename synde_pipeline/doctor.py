"""What `synde doctor` looks at: whether this installation and this home can do their work, and what to do where not.

Every check reads only. One that cannot be made says so instead of ending the others.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.base_model import pinned_folder
from synde_pipeline.errors import SyndeError
from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.tombstones import refuse_while_removing
from synde_pipeline.memory.daily import check_embedder
from synde_pipeline.memory.embed import get_embedder
from synde_pipeline.models.registry import champion
from synde_pipeline.serving.keys import FOLDER, read_keys
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse

State = Literal["ok", "note", "failed"]

PACKAGES = ("dagster", "dagster-webserver", "torch", "transformers", "peft", "lancedb", "duckdb", "pyarrow", "fastapi")
_GB = 1 << 30
_LEAST_GB = 2.0
"""Free space below which a training may not find room for its files."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Make all checks of a home."""
    checks: list[tuple[str, Callable[[Settings], Iterator[Finding]]]] = [
        ("packages", _packages),
        ("home", _home),
        ("disk", _disk),
        ("base model", _base),
        ("embedder", _embedder),
        ("champion", _champion),
        ("removal", _removal),
        ("dagster", _dagster),
        ("language model", _llm),
        ("server", _server),
        ("device", _device),
    ]
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += check(settings)
        except SyndeError as error:
            said = "; expected ".join(filter(None, (error.found, error.expected)))
            found.append(Finding(name, "failed", said, error.remedy))
        except OSError as error:
            found.append(Finding(name, "failed", str(error), "give this user access"))
    return found


def for_json(found: list[Finding]) -> dict[str, Any]:
    """All findings as one object."""
    return {"ok": all(one.state != "failed" for one in found), "checks": [asdict(one) for one in found]}


def _packages(_: Settings) -> Iterator[Finding]:
    missing, there = [], []
    for name in PACKAGES:
        try:
            there.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if missing:
        yield Finding("packages", "failed", f"{', '.join(missing)} missing", "make setup")
    else:
        yield Finding("packages", "ok", ", ".join([python, *there]))


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home.resolve()
    if not home.exists():
        yield Finding("home", "note", f"{home} is not there yet", "the first command that writes makes it")
        return
    if not os.access(home, os.W_OK):
        yield Finding("home", "failed", f"{home} cannot be written", "give this user access, or set SYNDE_HOME")
        return
    yield Finding("home", "ok", str(home))
    for folder in (settings.warehouse / LANDING, settings.home / FOLDER):
        if folder.exists() and folder.stat().st_mode & 0o077:
            yield Finding("home", "failed", f"others can read {folder}, which may hold secrets", f"chmod 700 {folder}")


def _disk(settings: Settings) -> Iterator[Finding]:
    where = next(path for path in (settings.home.resolve(), *settings.home.resolve().parents) if path.exists())
    free = shutil.disk_usage(where).free / _GB
    if free < _LEAST_GB:
        yield Finding("disk", "failed", f"{free:.1f} GB free at {where}", "make room: `synde gc`, or another disk")
    else:
        yield Finding("disk", "ok", f"{free:.1f} GB free")


def _base(settings: Settings) -> Iterator[Finding]:
    warehouse = Warehouse(settings.warehouse)
    header = warehouse.header(BASE, "")
    if header is None:
        name = settings.base_model
        said = f"none pinned yet; the first training pins {name}" if name else "none pinned yet"
        yield Finding("base model", "note", said, "" if name else "set SYNDE_BASE_MODEL, or a small one is built")
        return
    folder = pinned_folder(warehouse)  # refuses files that are not the pinned ones
    yield Finding("base model", "ok", f"{header.info['name']} {header.content_hash[:12]} in {folder}")


def _embedder(settings: Settings) -> Iterator[Finding]:
    name = settings.memory.embedder
    if name.startswith("openai:"):
        yield Finding("embedder", "note", f"{name} is asked over the network", "")
    else:
        dim = get_embedder(name).embed(["one text"]).shape[1]
        yield Finding("embedder", "ok", f"{name}, {dim} dimensions")
    check_embedder(Warehouse(settings.warehouse), settings.memory)


def _champion(settings: Settings) -> Iterator[Finding]:
    known = champion(Warehouse(settings.warehouse))
    domains = ", ".join(f"{domain}: {served.cycle}" for domain, served in known.domains.items())
    yield Finding("champion", "ok" if domains else "note", domains or "none yet: the base alone is served")


def _removal(settings: Settings) -> Iterator[Finding]:
    refuse_while_removing(Warehouse(settings.warehouse))
    yield Finding("removal", "ok", "none under way")


def _dagster(settings: Settings) -> Iterator[Finding]:
    mine = settings.dagster_home.resolve()
    given = os.environ.get("DAGSTER_HOME")
    if given and Path(given).resolve() != mine:
        remedy = f"export DAGSTER_HOME={mine}, or start it with `synde ui`"
        yield Finding(
            "dagster", "note", f"DAGSTER_HOME is {given}, and `synde run` writes its history to {mine}", remedy
        )
    if not (mine / "dagster.yaml").exists():
        yield Finding("dagster", "note", f"no history in {mine} yet", "")
        return
    from synde_pipeline.defs.instance import count_runs

    yield Finding("dagster", "ok", f"{count_runs(settings)} runs in {mine}")


def _llm(settings: Settings) -> Iterator[Finding]:
    wants = "llm" in (settings.reflection.engine, settings.reflection.judge, settings.notes.engine)
    config = settings.llm
    if not wants:
        yield Finding("language model", "ok", "not used: rules read the logs")
    elif not config.base_url or not config.model:
        yield Finding("language model", "failed", "wanted, and none is named", "set SYNDE_LLM_URL and SYNDE_LLM_MODEL")
    elif not os.environ.get(config.key_variable):
        yield Finding(
            "language model",
            "note",
            f"{config.model} at {config.base_url}, without a key",
            f"set {config.key_variable}",
        )
    else:
        yield Finding("language model", "ok", f"{config.model} at {config.base_url}")


def _server(settings: Settings) -> Iterator[Finding]:
    names = [key.name for key in read_keys(settings.home)]
    said = f"keys: {', '.join(names)}" if names else "no keys: it answers on the loopback only"
    backend = settings.serving.upstream_url or "the local champion"
    yield Finding("server", "ok", f"{backend} writes; {said}")


def _device(settings: Settings) -> Iterator[Finding]:
    from synde_pipeline.training.machine import device_of

    yield Finding("device", "ok", f"models run on {device_of(settings.machine)}")

"""The studies that `synde study` knows, what each of them claims, and where their files go: `studies/<name>/`.

A study is a function `(folder, *, quick) -> claims`: it writes its files into the folder and says what it found.
"""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from synde_pipeline.errors import InputError
from synde_pipeline.records.base import Record
from synde_pipeline.storage import Header, Warehouse, files_hash

ARTEFACT = "studies"
CLAIMS = "claims.json"

STUDIES = {
    "blockrank": "synde_pipeline.studies.blockrank:study",
    "mechanism": "synde_pipeline.studies.mechanism.study:study",
    "notes": "synde_pipeline.studies.notes_benchmark:study",
    "poisoning": "synde_pipeline.studies.poisoning:study",
}
"""Name -> where its function is, imported when it is asked for. The module's first line says what it is about."""


class Claim(Record):
    """One sentence that a study tested, with its numbers. The verdict is computed from thresholds, never typed."""

    id: str
    """Stable over runs: `<study>.<claim>`."""
    source: str
    """Who says it: a paper's section, or `ours`."""
    claim: str
    measured: float | None
    """None where nothing could be measured."""
    error: tuple[float, float] | None
    """95 % interval of `measured`."""
    n: int
    """Independent units: seeds, tasks, queries."""
    verdict: str
    command: str
    """What to run to get the numbers again."""


Study = Callable[..., Sequence[Claim]]


def study_of(name: str) -> Study:
    """The function of a study.

    Raises:
        InputError: there is no study of that name.
    """
    if name not in STUDIES:
        raise InputError(f"no study is called {name!r}", expected=" or ".join(STUDIES), remedy="see `synde study`")
    module, _, function = STUDIES[name].partition(":")
    return getattr(import_module(module), function)


def about(name: str) -> str:
    """First line of a study's module."""
    return (import_module(STUDIES[name].partition(":")[0]).__doc__ or "").splitlines()[0]


def run_study(warehouse: Warehouse, name: str, *, quick: bool = False) -> tuple[list[Claim], Header]:
    """Run a study and publish its files all at once; returns its claims, which lie beside them.

    Raises:
        InputError: there is no study of that name.
    """
    study = study_of(name)
    claims: list[Claim] = []

    def write(folder: Path) -> None:
        claims.extend(study(folder, quick=quick))
        text = json.dumps([claim.model_dump(mode="json") for claim in claims], indent=1, ensure_ascii=False)
        (folder / CLAIMS).write_text(text, "utf-8")

    def describe(folder: Path) -> Header:
        counts = {"claims": len(claims)}
        hashed = files_hash(folder)
        return Header(artefact=artefact_of(name), key="", content_hash=hashed, counts=counts, info={"quick": quick})

    header = warehouse.publish_folder(artefact_of(name), "", write, describe)
    return claims, header


def artefact_of(name: str) -> str:
    """Artefact that holds a study's files."""
    return f"{ARTEFACT}/{name}"

"""The importers there are, and which one reads a document."""

from typing import Any

from synde_pipeline.errors import ImportFormatError
from synde_pipeline.logs.importers.base import Importer
from synde_pipeline.logs.importers.tau2_bench import Tau2Bench
from synde_pipeline.logs.importers.tau_bench import TauBench

_ALL: tuple[Importer, ...] = (TauBench(), Tau2Bench())
IMPORTERS = {importer.name: importer for importer in _ALL}


def detect(document: Any, forced: str | None = None) -> Importer:
    """Pick the importer of a parsed JSON document.

    Raises:
        ImportFormatError: none reads it, or the forced name is unknown or does not fit.
    """
    if forced is not None:
        if forced not in IMPORTERS:
            raise ImportFormatError(f"unknown format {forced!r}", expected=" or ".join(IMPORTERS))
        if not IMPORTERS[forced].detects(document):
            raise ImportFormatError(f"the file is not in format {forced}", remedy="leave --format out to detect it")
        return IMPORTERS[forced]
    for importer in IMPORTERS.values():
        if importer.detects(document):
            return importer
    raise ImportFormatError("no importer reads this file", expected=f"one of: {', '.join(IMPORTERS)}")

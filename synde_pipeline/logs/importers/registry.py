"""The importers there are, and which one reads a document.

Others come by entry points of the group `synde.importers`: a class or an object that is an `Importer`.
"""

import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from synde_pipeline.errors import ImportFormatError
from synde_pipeline.logs.documents import Document, Lines, Text
from synde_pipeline.logs.importers.adk_eval_set import AdkEvalSet
from synde_pipeline.logs.importers.atif import Atif
from synde_pipeline.logs.importers.base import REFUSED, Importer
from synde_pipeline.logs.importers.canonical import Canonical
from synde_pipeline.logs.importers.flywheel import Flywheel
from synde_pipeline.logs.importers.inspect_ai import InspectAi
from synde_pipeline.logs.importers.langfuse import Langfuse
from synde_pipeline.logs.importers.langsmith import LangSmith
from synde_pipeline.logs.importers.mini_swe_agent import MiniSweAgent
from synde_pipeline.logs.importers.openai_chat import OpenAIChat
from synde_pipeline.logs.importers.openhands import OpenHands
from synde_pipeline.logs.importers.otel import OtelSpans
from synde_pipeline.logs.importers.react import ReactText
from synde_pipeline.logs.importers.reflexion import Reflexion
from synde_pipeline.logs.importers.swe_agent import SweAgent
from synde_pipeline.logs.importers.tau2_bench import Tau2Bench
from synde_pipeline.logs.importers.tau_bench import TauBench
from synde_pipeline.logs.importers.who_and_when import WhoAndWhen

GROUP = "synde.importers"
_BULLET = re.compile(r"^\[[a-z_]{1,20}-\d{5}\] ", re.MULTILINE)
_OWN: tuple[Importer, ...] = (
    Canonical(),
    Atif(),
    Flywheel(),
    Langfuse(),
    LangSmith(),
    TauBench(),
    Tau2Bench(),
    MiniSweAgent(),
    SweAgent(),
    OpenHands(),
    WhoAndWhen(),
    Reflexion(),
    InspectAi(),
    OtelSpans(),
    AdkEvalSet(),
    OpenAIChat(),  # these two last: many formats hold messages, or text of this kind
    ReactText(),
)
"""From the most telling format to the least: the first that detects a document reads it."""

OTHERS: dict[str, Callable[[Any], bool]] = {
    "tasks with tests, no runs (HumanEval)": lambda document: _has(document, "task_id", "prompt", "canonical_solution"),
    "task configs, no runs (WebArena)": lambda document: _has(document, "task_id", "sites", "intent", "eval"),
    "list of files": lambda document: _has(document, "file", "sha256"),
    "ACE playbook, no runs": lambda document: isinstance(document, Text) and bool(_BULLET.search(document)),
    "exit statuses, no runs (mini-swe-agent)": lambda document: (
        isinstance(document, Text) and document.startswith("instances_by_exit_status:")
    ),
}
"""What a file is that holds no runs -> whether a document is that."""


def _has(document: Any, *fields: str) -> bool:
    """Whether a document is an object, or a list that begins with one, with these fields."""
    first = document[0] if isinstance(document, list) and document else document
    return isinstance(first, dict) and first.keys() >= set(fields)


@cache
def importers() -> dict[str, Importer]:
    """Every importer by name: a user's own ones first, which may replace ours.

    Raises:
        ImportFormatError: an entry point cannot be loaded.
    """
    found: dict[str, Importer] = {}
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
            importer = loaded() if isinstance(loaded, type) else loaded
            found[importer.name] = importer
        except Exception as error:
            raise ImportFormatError(
                f"the importer {point.value} of the entry point {point.name!r} cannot be loaded: {error}",
                remedy="mend it, or uninstall its package",
            ) from error
    return found | {importer.name: importer for importer in _OWN if importer.name not in found}


def detect(document: Any, forced: str | None = None) -> Importer:
    """Pick the importer of a document.

    Raises:
        ImportFormatError: none reads it, or the forced name is unknown or does not fit.
    """
    known = importers()
    if forced is not None:
        if forced not in known:
            raise ImportFormatError(f"unknown format {forced!r}", expected=" or ".join(known))
        if not _detects(known[forced], document):
            raise ImportFormatError(f"the file is not in format {forced}", remedy="leave --format out to detect it")
        return known[forced]
    for importer in known.values():
        if _detects(importer, document):
            return importer
    raise ImportFormatError("no importer reads this file", expected=f"one of: {', '.join(known)}")


def importer_of(document: Document, forced: str | None = None) -> Importer:
    """Pick the importer of a document, whose content becomes lines where it is a single one of JSON lines.

    Raises:
        ImportFormatError: none reads it, or the forced name is unknown or does not fit.
    """
    try:
        return detect(document.content, forced)
    except ImportFormatError:
        if not isinstance(document.content, dict):
            raise
        importer = detect(Lines([document.content]), forced)
        document.content = Lines([document.content])
        return importer


def _detects(importer: Importer, document: Any) -> bool:
    """An importer looks at any document at all: what surprises it is not its own."""
    try:
        return importer.detects(document) or bool(importer.tells(document))
    except REFUSED:
        return False


def told_of(document: Any) -> str:
    """What a document is that holds no runs; empty where nobody knows."""
    return next((word for word, is_it in OTHERS.items() if is_it(document)), "")

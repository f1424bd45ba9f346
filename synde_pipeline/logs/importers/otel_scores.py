"""What spans say of how a run went: evaluation events of GenAI, annotations of OpenInference and Phoenix.

Scores have no common scale or direction: only labels in plain words about the whole run, of a name that says
success, are an outcome.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from synde_pipeline.logs.choices import says_success
from synde_pipeline.logs.importers.otel_spans import Native, first_of, tree
from synde_pipeline.records import LabelSource, Outcome

_SOURCES: dict[str, LabelSource] = {"HUMAN": "human", "CODE": "verifier", "LLM": "judge"}
_ORDER: tuple[LabelSource, ...] = ("human", "verifier", "judge")
"""Whose word counts where they differ."""
_LABELS: dict[Outcome, str] = {
    "success": "correct pass passed success successful resolved solved thumbs_up",
    "failure": "incorrect fail failed failure unresolved unsolved thumbs_down",
    "partial": "partial partially_correct",
}
_WORDS: dict[str, Outcome] = {word: outcome for outcome, words in _LABELS.items() for word in words.split()}
_VALUES: dict[Outcome, float] = {"success": 1.0, "failure": 0.0, "partial": 0.5}


@dataclass(frozen=True)
class Evaluation:
    """One judgement."""

    name: str
    value: float | None
    outcome: Outcome
    """What its label says; unknown where that is no word for it, or its name says something else than success."""
    source: LabelSource
    of_run: bool
    """Whether it is about the whole run, not about one span of it."""
    at: datetime | None = None
    """When it was given; None where the log does not say."""


def evaluations_in(natives: list[Native], root: Native | None) -> list[Evaluation]:
    """All judgements in a trace, in order."""
    return [one for native in natives for one in _of_span(native, is_root=native is root)]


def verdict_of(evaluations: list[Evaluation]) -> tuple[Outcome, float | None, LabelSource]:
    """The outcome by the annotators who count most; unknown where they contradict each other."""
    for source in _ORDER:
        said = [one for one in evaluations if one.of_run and one.source == source and one.outcome != "unknown"]
        if said:
            if len({one.outcome for one in said}) > 1:
                break
            return said[-1].outcome, _VALUES[said[-1].outcome], source
    return "unknown", None, "none"


def _of_span(span: Native, *, is_root: bool) -> Iterator[Evaluation]:
    for source, at in ((span.attributes, span.until), *((event.attributes, event.at) for event in span.events)):
        if name := source.get("gen_ai.evaluation.name"):
            value, label = source.get("gen_ai.evaluation.score.value"), source.get("gen_ai.evaluation.score.label")
            yield replace(_evaluation(str(name), value, label, "none", of_run=False), at=at)
    for prefix, inner, of_run in (
        ("trace.annotations", "annotation", True),
        ("annotations", "annotation", is_root),
        ("evaluations", "evaluation", is_root),
    ):
        found = tree(span.attributes, prefix)
        for one in found if isinstance(found, list) else ():
            if isinstance(one, dict):
                yield _annotation(one.get(inner, one), of_run=of_run)
    for one in span.annotations:
        yield _annotation(one, of_run=is_root)


def _annotation(found: Any, *, of_run: bool) -> Evaluation:
    """One annotation: flat, or with its score and label in a `result`."""
    kind = str(found.get("annotator_kind") or found.get("annotatorKind") or "").upper()
    value, label = (first_of(found, key, f"result.{key}") for key in ("score", "label"))
    return _evaluation(str(found.get("name") or ""), value, label, _SOURCES.get(kind, "none"), of_run=of_run)


def _evaluation(name: str, value: Any, label: Any, source: LabelSource, *, of_run: bool) -> Evaluation:
    word = _WORDS.get("_".join(str(label or "").lower().replace("-", " ").split()), "unknown")
    number = _number(value)
    outcome = word if says_success(name) else "unknown"
    return Evaluation(name, _VALUES.get(word) if number is None else number, outcome, source, of_run)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    is_number = isinstance(value, bool | int | float) and math.isfinite(value)
    return float(value) if is_number else None

"""Langfuse: exported traces, rows of observations, and scores, which may lie in other files than the runs."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.logs.choices import first_domain, says_success
from synde_pipeline.logs.importers.base import (
    Declared,
    Draft,
    Importer,
    Label,
    id_of,
    labels_of,
    parse_time,
    task_hash,
)
from synde_pipeline.logs.importers.span_runs import conversation_of_spans
from synde_pipeline.logs.importers.spans import Span, fullest, in_order, once, times_of
from synde_pipeline.records import LabelSource

_TYPES = {"SPAN", "GENERATION", "EVENT", "TOOL", "AGENT", "CHAIN", "RETRIEVER", "EVALUATOR", "EMBEDDING", "GUARDRAIL"}
_ROLES: dict[str, Literal["model", "tool", "judge"]] = {
    "GENERATION": "model",
    "TOOL": "tool",
    "EVALUATOR": "judge",
    "GUARDRAIL": "judge",
}
_GIVERS: dict[str, LabelSource] = {"ANNOTATION": "human", "EVAL": "judge", "API": "user"}
_KINDS = {"NUMERIC", "CATEGORICAL", "BOOLEAN", "TEXT", "CORRECTION"}
_WORD = re.compile(r"_([a-z])")


class Langfuse(Importer):
    """Importer of Langfuse's traces with their observations, and of its blob export's rows."""

    name = "langfuse"
    declared = Declared(
        identity="the trace's id",
        time="the trace's `timestamp`, else its first observation's start",
        domain="the trace's name",
        task="last user turn of the first generation, else the trace's input",
        steps="one a tool call or a reply of a generation; tools and spans of a tool's name are results",
        outcome="scores of the whole trace: one of type BOOLEAN that is named success, or the one that --outcome names",
        label_source="human (ANNOTATION), judge (EVAL), user (API)",
        dropped=("corrections", "usage", "costs", "events", "scores of observations without --outcome"),
    )
    known = frozenset({"trace", "observations"})

    def detects(self, document: Any) -> bool:
        """Traces that hold their observations, or rows of observations."""
        return any(_is_trace(row) or _is_observation(row) for row in _objects(document))

    def tells(self, document: Any) -> str:
        """Files of scores, and of traces whose observations are elsewhere."""
        rows = _objects(document)
        if not rows or any(_is_trace(row) or _is_observation(row) for row in rows):
            return ""
        if any(_is_score(row) for row in rows):
            return "Langfuse scores: labels of runs in other files"
        return "Langfuse traces without observations" if any(_is_bare(row) for row in rows) else ""

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield `{trace, observations}` of each trace, and what is neither a trace nor an observation as it is."""
        groups: dict[str, list[Any]] = {}
        for row in _objects(document):
            if _is_trace(row):
                trace = row["trace"] if isinstance(row.get("trace"), dict) else row
                yield {"trace": trace, "observations": row["observations"]}
            elif _is_observation(row):
                groups.setdefault(_get(row, "trace_id"), []).append({"trace": _context(row), "observations": [row]})
            elif not _is_score(row):
                yield row
        yield from map(self.joined, groups.values())

    def run_key(self, row: Any) -> str:
        """The trace's id."""
        return str(row["trace"].get("id") or "") if _is_trace(row) else ""

    def joined(self, rows: list[Any]) -> Any:
        """All observations; of each field of the trace the value that says most."""
        said: dict[str, list[Any]] = {}
        for row in rows:
            for key, value in row["trace"].items():
                values = said.setdefault(key, [])
                if value not in (None, *values):
                    values.append(value)
        trace = {key: fullest(values) for key, values in said.items() if values}
        return {"trace": trace, "observations": [one for row in rows for one in row["observations"]]}

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one trace."""
        if not isinstance(row, dict) or not isinstance(row.get("observations"), list):
            raise TypeError("neither a trace with its observations nor an observation")
        trace, seen = row["trace"], row["observations"]
        if str(trace.get("environment") or "").startswith("langfuse-"):
            raise ValueError("a trace of Langfuse's own evaluators: no run of an agent")
        by_id = {str(one["id"]): one for one in once(seen, lambda one: str(one["id"]))}
        spans = in_order(map(_span, by_id.values()))
        seen = [by_id[span.id] for span in spans]
        ids = {span.id for span in spans}
        root = next((span for span in spans if span.parent not in ids), None)
        asked = trace.get("input") if trace.get("input") is not None else root.asked if root else None
        answered = trace.get("output") if trace.get("output") is not None else root.answered if root else None
        talk = conversation_of_spans(spans, asked, answered)
        started, ended = times_of(spans)
        domain = first_domain(trace.get("name"), root.name if root else None, default=self.name)
        models = (_get(one, "provided_model_name") or one.get("model") for one in seen)
        return Draft(
            trace_uid=f"{self.name}:{id_of(trace['id'])}",
            task_id=f"{self.name}:{domain}:{task_hash(talk.task)}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            model=next((model for model in models if isinstance(model, str)), ""),
            system=talk.system,
            started_at=parse_time(trace.get("timestamp")) or started,
            ended_at=ended,
        )

    def labels(self, document: Any) -> Iterator[Label]:
        """Scores, in a file of their own or in their trace."""
        return labels_of(_scores_in(document), self._label)

    def label_key(self, row: Any, draft: Draft) -> str:
        """The trace's id."""
        return draft.trace_uid

    def missing(self, draft: Draft) -> str:
        """Observations that hold no texts."""
        return "" if draft.steps else "no answers in the observations: let the tracer keep inputs and outputs"

    def _label(self, score: dict[str, Any]) -> Label | None:
        kind, trace = _get(score, "data_type"), _get(score, "trace_id")
        if kind not in ("NUMERIC", "BOOLEAN") or trace is None:  # categories have no number, sessions are no runs
            return None
        value = float(score["value"])
        if not math.isfinite(value):
            raise ValueError(f"score {score['name']!r} is {value}")
        whole = _get(score, "observation_id") in (None, "")
        name = str(score["name"])
        decides = kind == "BOOLEAN" and whole and says_success(name)
        return Label(
            key=f"{self.name}:{id_of(trace)}",
            outcome=("success" if value else "failure") if decides else "unknown",
            label_source=_GIVERS[score["source"]],
            reward=value,
            score=name,
            at=parse_time(_get(score, "timestamp") or _get(score, "created_at")),
        )


def _objects(document: Any) -> list[Any]:
    if isinstance(document, dict):
        return document["data"] if isinstance(document.get("data"), list) else [document]
    return document if isinstance(document, list) else []


def _get(row: dict[str, Any], name: str) -> Any:
    """A field in either spelling: `trace_id` of a blob export, `traceId` of the API."""
    return row[name] if row.get(name) is not None else row.get(_WORD.sub(lambda found: found[1].upper(), name))


def _is_trace(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("observations"), list):
        return False
    trace, seen = row.get("trace", row), row["observations"]
    by_id = bool(seen) and all(isinstance(one, str) for one in seen)  # a list of traces only names them
    return isinstance(trace, dict) and "id" in trace and not by_id


def _is_observation(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("type"), str):
        return False
    return row["type"] in _TYPES and isinstance(_get(row, "trace_id"), str) and _get(row, "start_time") is not None


def _is_score(row: Any) -> bool:
    if not isinstance(row, dict) or row.get("source") not in (*_GIVERS, None):
        return False
    kind = _get(row, "data_type")
    return isinstance(kind, str) and kind in _KINDS and "name" in row and "value" in row


def _is_bare(row: Any) -> bool:
    names = ("session_id", "user_id", "input", "output")
    return (
        isinstance(row, dict)
        and {"id", "timestamp", "name"} <= row.keys()
        and all(name in row or _WORD.sub(lambda found: found[1].upper(), name) in row for name in names)
    )


def _scores_in(document: Any) -> Iterator[dict[str, Any]]:
    for row in _objects(document):
        if _is_score(row):
            yield row
        elif _is_trace(row):
            trace = row.get("trace", row)
            held = trace.get("scores")
            for score in held if isinstance(held, list) else ():
                if isinstance(score, dict):  # a list of traces names its scores by their ids
                    yield {"trace_id": trace["id"]} | score


def _context(row: dict[str, Any]) -> dict[str, Any]:
    """What a row of the enriched export knows of its trace."""
    return {"id": _get(row, "trace_id"), "name": _get(row, "trace_name"), "environment": row.get("environment")}


def _span(row: dict[str, Any]) -> Span:
    kind, level, answered = row["type"], row.get("level"), row.get("output")
    if kind != "GENERATION" and answered is None and level == "ERROR":
        answered = _get(row, "status_message")  # as the agent will have been told
    return Span(
        id=id_of(row["id"]),
        parent=str(_get(row, "parent_observation_id") or ""),
        kind=_ROLES.get(kind, "other"),
        name=str(row.get("name") or ""),
        asked=row.get("input"),
        answered=answered,
        at=parse_time(_get(row, "start_time")),
        until=parse_time(_get(row, "end_time")),
        ok=None if level is None else level != "ERROR",
    )

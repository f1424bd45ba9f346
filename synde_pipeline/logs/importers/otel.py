"""OpenTelemetry spans of GenAI and OpenInference, in any encoding: one run a trace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.choices import domain_name
from synde_pipeline.logs.importers.base import REFUSED, Declared, Draft, Importer, Label, task_hash
from synde_pipeline.logs.importers.otel_content import agent_of, model_of, outer_words, span_of
from synde_pipeline.logs.importers.otel_encodings import is_evaluation, is_genai, natives_of, traces_of
from synde_pipeline.logs.importers.otel_scores import Evaluation, evaluations_in, verdict_of
from synde_pipeline.logs.importers.otel_spans import Native, id_in, is_record, is_span, joined, native_of
from synde_pipeline.logs.importers.span_runs import conversation_of_spans
from synde_pipeline.logs.importers.spans import once, place_of, times_of
from synde_pipeline.records import canonical_json, content_hash

NO_CONTENT = "[content was not captured]"
_LONGEST_UID = 150


class OtelSpans(Importer):
    """Importer of OpenTelemetry spans."""

    name = "otel"
    declared = Declared(
        identity="the trace's id, else a hash of its spans; the task is known again by its text",
        time="start of the first span",
        domain="`service.name`, else the agent's name, else `agent`",
        task="first user turn of the first model or agent, else the root's input",
        steps="one a tool call, one a reply; repeated history once; a tool's span gives result and success",
        outcome="OpenInference annotations named success on the trace or its root; other scores by --outcome",
        label_source="human for HUMAN, verifier for CODE, judge for LLM",
        dropped=("status of spans but tools'", "token counts", "tool definitions", "session.annotations"),
    )

    def detects(self, document: Any) -> bool:
        """OTLP, Tempo, Jaeger or a list of spans, with attributes of a language model or an agent."""
        return any(is_genai(native) for native, _ in natives_of(document))

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the traces of which more than evaluations is here."""
        for row in traces_of(document):
            if not all(is_evaluation(one["span"]) for one in row["spans"]):
                yield row

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one trace.

        Raises:
            TypeError, ValueError, AttributeError, KeyError: a span is none, or none is of a model or an agent.
        """
        if not any(is_genai(one["span"]) for one in row["spans"]):
            raise ValueError("no span of a language model or an agent in this trace")
        natives = _natives_of(row)
        root = _root_of(natives)
        untold = f"{root.name} {NO_CONTENT}".strip()
        spans = [span_of(one) for one in natives]
        talk = conversation_of_spans(spans, *outer_words(root), untold=untold)
        started, ended = times_of(spans)
        found = evaluations_in(natives, root)
        outcome, reward, label_source = verdict_of(found)
        name = next(filter(None, (one.service for one in natives)), "") or next(
            filter(None, map(agent_of, natives)), ""
        )
        domain = domain_name(name or "agent")
        trace = row["trace_id"]
        native = trace if 0 < len(trace) <= _LONGEST_UID else content_hash(trace or row)[:24]
        task = native if talk.task.endswith(NO_CONTENT) else task_hash(talk.task)
        return Draft(
            trace_uid=f"{self.name}:{native}",
            task_id=f"{self.name}:{domain}:{task}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            outcome=outcome,
            reward=reward,
            label_source=label_source,
            model=next(filter(None, map(model_of, natives)), ""),
            system=talk.system,
            started_at=started,
            ended_at=ended,
            labels=tuple(_labels_of(found)),
        )

    def tells(self, document: Any) -> str:
        """Evaluation events that were exported apart from their spans."""
        natives = [native for native, _ in natives_of(document)]
        return "evaluations of traces" if natives and all(map(is_evaluation, natives)) else ""

    def run_key(self, row: Any) -> str:
        """The trace's id."""
        return row["trace_id"]

    def joined(self, rows: list[Any]) -> Any:
        """All spans of the trace."""
        return {"trace_id": rows[0]["trace_id"], "spans": [one for row in rows for one in row["spans"]]}

    def parts(self, document: Any) -> Iterator[Any]:
        """Yield evaluations, and the spans of a file in which no model and no agent has one."""
        has_runs = self.detects(document)
        for row in traces_of(document):
            natives = [one["span"] for one in row["spans"]]
            if all(map(is_evaluation, natives)) or (not has_runs and all(map(is_span, natives))):
                yield row

    def labels(self, document: Any) -> Iterator[Label]:
        """Scores that lie apart from their traces: these may have been imported before."""
        for row in traces_of(document):
            if row["trace_id"] and all(is_evaluation(one["span"]) for one in row["spans"]):
                try:
                    natives = _natives_of(row)
                    yield from _labels_of(evaluations_in(natives, _root_of(natives)), self.label_key(row))
                except REFUSED:  # the trace itself goes to quarantine
                    continue

    def label_key(self, row: Any, draft: Draft | None = None) -> str:
        """The trace's id."""
        return f"{self.name}:{row['trace_id']}" if row["trace_id"] else ""

    def missing(self, draft: Draft) -> str:
        """Content that was not captured."""
        if draft.task.endswith(NO_CONTENT):
            return (
                "no content: set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true (newer: SPAN_ONLY),"
                " TRACELOOP_TRACE_CONTENT=true, or leave out OPENINFERENCE_HIDE_INPUTS and _OUTPUTS"
            )
        return "" if draft.steps else "no steps: neither answers nor tools' spans were recorded"


def _natives_of(row: Any) -> list[Native]:
    natives = joined(native_of(one["span"], one["resource"]) for one in once(row["spans"], _span_key))
    return sorted(natives, key=lambda one: place_of(one.at, one.until, one.id))


def _span_key(one: dict[str, Any]) -> str:
    native = one["span"]
    return (not is_record(native) and id_in(native)) or canonical_json(native)


def _root_of(natives: list[Native]) -> Native:
    """The first span without a parent in the trace."""
    ids = {one.id for one in natives}
    spans = [one for one in natives if not one.is_record] or natives
    return next((one for one in spans if one.parent not in ids - {one.id, ""}), spans[0])


def _labels_of(found: list[Evaluation], key: str = "") -> Iterator[Label]:
    """Scores, for a rule of the user; one of the run itself outranks those of its spans."""
    of_runs = {one.name for one in found if one.of_run}
    for one in found:
        if one.value is not None and (one.of_run or one.name not in of_runs):
            yield Label(key, "unknown", "judge" if one.source == "none" else one.source, one.value, one.name, at=one.at)

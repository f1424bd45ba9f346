"""OpenTelemetry spans of GenAI and OpenInference, in any encoding: one run a trace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.choices import domain_name
from synde_pipeline.logs.importers.base import REFUSED, Declared, Draft, Importer, Label, task_hash
from synde_pipeline.logs.importers.otel_content import agent_of, model_of
from synde_pipeline.logs.importers.otel_encodings import is_evaluation, is_genai, natives_of, traces_of
from synde_pipeline.logs.importers.otel_runs import NO_CONTENT, conversation_in, root_of
from synde_pipeline.logs.importers.otel_scores import Evaluation, evaluations_in, verdict_of
from synde_pipeline.logs.importers.otel_spans import Span, joined, moment, span_of
from synde_pipeline.records import content_hash

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
        spans = _spans_of(row)
        if not any(is_genai(one["span"]) for one in row["spans"]):
            raise ValueError("no span of a language model or an agent in this trace")
        talk = conversation_in(spans)
        root = root_of(spans)
        outcome, reward, label_source = verdict_of(evaluations_in(spans, root))
        spans.sort(key=lambda span: span.start or 0)
        name = next(filter(None, (span.service for span in spans)), "") or next(filter(None, map(agent_of, spans)), "")
        domain = domain_name(name or "agent")
        native = row["trace_id"] if 0 < len(row["trace_id"]) <= _LONGEST_UID else content_hash(row)[:24]
        task = native if talk.task.endswith(NO_CONTENT) else task_hash(talk.task)
        times = sorted(time for span in spans for time in (span.start, span.end) if time is not None)
        return Draft(
            trace_uid=f"{self.name}:{native}",
            task_id=f"{self.name}:{domain}:{task}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            outcome=outcome,
            reward=reward,
            label_source=label_source,
            model=next(filter(None, map(model_of, spans)), ""),
            system=talk.system,
            started_at=moment(times[0]) if times else None,
            ended_at=moment(times[-1]) if times else None,
        )

    def tells(self, document: Any) -> str:
        """Evaluation events that were exported apart from their spans."""
        natives = [native for native, _ in natives_of(document)]
        return "evaluations of traces" if natives and all(map(is_evaluation, natives)) else ""

    def labels(self, document: Any) -> Iterator[Label]:
        """Scores, for a rule of the user; one of the run itself outranks those of its spans."""
        for row in traces_of(document):
            try:
                found = _evaluations_of(row)
            except REFUSED:  # the trace itself goes to quarantine
                continue
            of_runs = {one.name for one in found if one.of_run}
            for one in found:
                if one.value is not None and (one.of_run or one.name not in of_runs):
                    by = "judge" if one.source == "none" else one.source
                    yield Label(_key_of(row), "unknown", by, one.value, score=one.name, at=moment(one.at))

    def label_key(self, row: Any, draft: Draft) -> str:
        """The trace's id."""
        return _key_of(row)

    def missing(self, draft: Draft) -> str:
        """Content that was not captured."""
        if draft.task.endswith(NO_CONTENT):
            return (
                "no content: set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true (newer: SPAN_ONLY),"
                " TRACELOOP_TRACE_CONTENT=true, or leave out OPENINFERENCE_HIDE_INPUTS and _OUTPUTS"
            )
        return "" if draft.steps else "no steps: neither answers nor tools' spans were recorded"


def _spans_of(row: Any) -> list[Span]:
    return joined([span_of(one["span"], one["resource"]) for one in row["spans"]])


def _key_of(row: Any) -> str:
    return f"{OtelSpans.name}:{row['trace_id']}" if row["trace_id"] else ""


def _evaluations_of(row: Any) -> list[Evaluation]:
    spans = _spans_of(row)
    return evaluations_in(spans, root_of(spans))

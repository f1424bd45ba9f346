"""LangSmith: exported runs, joined by their trace, and feedback, which may lie in other files than the runs."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
from synde_pipeline.logs.importers.spans import Span, in_order, once, times_of
from synde_pipeline.records import LabelSource

_GIVERS: dict[str, LabelSource] = {"app": "human", "model": "judge", "auto_eval": "judge", "api": "user"}


class LangSmith(Importer):
    """Importer of LangSmith's runs: JSON lines, a list, or an answer of its API with `runs`."""

    name = "langsmith"
    declared = Declared(
        identity="`trace_id`",
        time="`start_time` and `end_time`",
        domain="the project's name, else the root run's",
        task="last user turn of the first run of type llm, else the root run's inputs",
        steps="one a tool call or a reply of runs of type llm; runs of type tool are results",
        outcome="feedback: a score of true or false that is named success, or the one that --outcome names",
        label_source="human (app), judge (model), user (api); feedback_stats count as a judge's",
        ground_truth=("reference_outputs", "correction"),
        dropped=("status and error of the whole run", "events", "costs", "tags", "serialized"),
    )

    def detects(self, document: Any) -> bool:
        """Objects with a type of run that belong to a trace."""
        return any(_is_run(row) for row in _objects(document))

    def tells(self, document: Any) -> str:
        """Files of feedback."""
        rows = _objects(document)
        if any(_is_run(row) for row in rows) or not any(_is_feedback(row) for row in rows):
            return ""
        return "LangSmith feedback: labels of runs in other files"

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the runs of each trace, and what is no run as it is."""
        traces: dict[str, list[Any]] = {}
        for row in _flat(_objects(document)):
            if _is_run(row):
                traces.setdefault(_trace_of(row), []).append(row)
            elif not _is_feedback(row):
                yield row
        yield from traces.values()

    def run_key(self, row: Any) -> str:
        """The trace's id."""
        return _trace_of(row[0]) if isinstance(row, list) and row and all(map(_is_run, row)) else ""

    def joined(self, rows: list[Any]) -> Any:
        """All runs of the trace."""
        return [run for row in rows for run in row]

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one trace."""
        if not isinstance(row, list):
            raise TypeError("neither a run nor feedback")
        by_id = {run["id"]: run for run in once(row, lambda run: run["id"])}
        spans = in_order(map(_span, by_id.values()))
        if all(run.get("dotted_order") for run in by_id.values()):
            spans.sort(key=lambda span: str(by_id[span.id]["dotted_order"]))
        runs = [by_id[span.id] for span in spans]
        root = _root_of(runs)
        talk = conversation_of_spans(spans, root.get("inputs"), root.get("outputs"))
        started, ended = times_of(spans)
        domain = first_domain(root.get("session_name"), root.get("name"), default=self.name)
        example = root.get("reference_example_id")
        return Draft(
            trace_uid=f"{self.name}:{_trace_of(root)}",
            task_id=f"{self.name}:{domain}:{task_hash(talk.task) if example is None else id_of(example)}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            model=next((name for run in runs if (name := _model_of(run))), ""),
            system=talk.system,
            started_at=started,
            ended_at=ended,
        )

    def labels(self, document: Any) -> Iterator[Label]:
        """Feedback, in a file of its own or summed up in the root run."""
        rows = _objects(document)
        yield from labels_of((row for row in rows if _is_feedback(row)), self._feedback)
        yield from labels_of(_stats_in(rows), self._stat)

    def label_key(self, row: Any, draft: Draft) -> str:
        """The trace's id."""
        return draft.trace_uid

    def missing(self, draft: Draft) -> str:
        """Runs without inputs and outputs."""
        return "" if draft.steps else "no answers in the runs: export inputs and outputs too"

    def _feedback(self, row: dict[str, Any]) -> Label | None:
        run, trace = row.get("run_id"), row.get("trace_id")
        if row["score"] is None or run is None:
            return None
        source = (row.get("feedback_source") or {}).get("type") or "api"
        value = _number(row["score"])
        key = str(row["key"])
        decides = isinstance(row["score"], bool) and trace in (None, run) and says_success(key)
        return Label(
            key=f"{self.name}:{id_of(trace or run)}",
            outcome=("success" if value else "failure") if decides else "unknown",
            label_source=_GIVERS.get(str(source), "user"),
            reward=value,
            score=key,
            at=parse_time(row.get("modified_at") or row.get("created_at")),
        )

    def _stat(self, stat: tuple[str, str, dict[str, Any]]) -> Label | None:
        trace, key, found = stat
        if found.get("avg") is None:
            return None
        return Label(f"{self.name}:{trace}", "unknown", "judge", _number(found["avg"]), score=key)


def _objects(document: Any) -> list[Any]:
    if isinstance(document, dict):
        return next((document[name] for name in ("runs", "data") if isinstance(document.get(name), list)), [document])
    return document if isinstance(document, list) else []


def _flat(rows: Iterable[Any]) -> Iterator[Any]:
    """Rows, and the runs that are written inside their parents."""
    waiting = list(rows)[::-1]
    while waiting:
        row = waiting.pop()
        yield row
        children = row.get("child_runs") if isinstance(row, dict) else None
        if isinstance(children, list):
            waiting += children[::-1]


def _is_run(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("run_type"), str) or not isinstance(row.get("id"), str):
        return False
    return bool(row.keys() & {"trace_id", "dotted_order", "parent_run_id"}) and isinstance(_trace_of(row), str)


def _is_feedback(row: Any) -> bool:
    return isinstance(row, dict) and {"run_id", "key", "score"} <= row.keys() and "run_type" not in row


def _trace_of(run: dict[str, Any]) -> str:
    """A run's trace: as it says, else the first run that its order names, else itself."""
    first = str(run.get("dotted_order") or "").partition(".")[0].partition("Z")[2]
    return run.get("trace_id") or first or run["id"]


def _root_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    trace = _trace_of(runs[0])
    return next((run for run in runs if run["id"] == trace), runs[0])


def _stats_in(rows: Iterable[Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for row in rows:
        if _is_run(row) and isinstance(row.get("feedback_stats"), dict) and row["id"] == _trace_of(row):
            for key, found in row["feedback_stats"].items():
                if isinstance(found, dict):
                    yield row["id"], str(key), found


def _number(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"score is {value!r}")
    return found


def _model_of(run: dict[str, Any]) -> str:
    extra = run.get("extra")
    for name in ("metadata", "invocation_params"):
        held = extra.get(name) if isinstance(extra, dict) else None
        for key in ("ls_model_name", "model", "model_name"):
            if isinstance(held, dict) and isinstance(held.get(key), str):
                return held[key]
    return ""


def _span(run: dict[str, Any]) -> Span:
    kind, status, answered = run["run_type"], run.get("status"), run.get("outputs")
    worked = {"success": True, "error": False}.get(status) if isinstance(status, str) else None
    if kind == "tool" and answered is None:
        answered = run.get("error")  # as the agent will have been told
    return Span(
        id=run["id"],
        parent=str(run.get("parent_run_id") or (run.get("parent_run_ids") or [""])[-1]),
        kind="model" if kind == "llm" else "tool" if kind == "tool" else "other",
        name=str(run.get("name") or ""),
        asked=run.get("inputs"),
        answered=answered,
        at=parse_time(run.get("start_time")),
        until=parse_time(run.get("end_time")),
        ok=False if run.get("error") else worked,
    )

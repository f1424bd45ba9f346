"""Traces that are over go into landing, whole and once, through `ExecutionLogger`; labels that came later follow.

Which file a trace goes into is journalled before the file is written, and the file appears by one rename: after a kill
the same file is written again, with the same lines.
"""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from synde_pipeline.errors import InputError, RemovalError
from synde_pipeline.logs.labels import LabelRow, file_labels
from synde_pipeline.logs.landing import ARTEFACT, make_private
from synde_pipeline.logs.logger import ExecutionLogger, LandingWriter
from synde_pipeline.logs.tombstones import refuse_while_removing, tombstones
from synde_pipeline.serving.journal import CLOSED, Journal
from synde_pipeline.serving.traces import Trace
from synde_pipeline.storage import Warehouse

KEPT = timedelta(days=90)
"""How long an answer can be labelled after its trace has landed."""


def recovered(journal: Journal, uid: str, about: dict[str, Any]) -> Trace:
    """A trace as its journal tells it."""
    trace = Trace(uid, about, datetime.fromisoformat(about["opened_at"]))
    for answer in journal.answers(uid):
        body = answer.body
        at = datetime.fromisoformat(body["at"])
        trace.add(body["chain"], body["messages"], body["answer"], at)
        trace.n_answers += 1
        trace.show(body["shown"], body["model"])
    return trace


def file_closed(journal: Journal, warehouse: Warehouse) -> int:
    """Put all traces that are over into landing, and labels that came later; returns how many traces.

    While a removal is under way nothing is filed: the next call does it.
    """
    try:
        refuse_while_removing(warehouse)
    except RemovalError:
        return 0
    closed = journal.traces(CLOSED)
    by_file: dict[str, list[tuple[str, dict[str, Any], dict[str, Any] | None]]] = {}
    for uid, about, label, file in closed:
        by_file.setdefault(file or "", []).append((uid, about, label))
    if "" in by_file:
        new = f"served-{uuid.uuid4().hex}"
        journal.assign([uid for uid, _, _ in by_file[""]], new).result()
        by_file[new] = by_file.pop("")
    for file, rows in sorted(by_file.items()):
        _write(journal, warehouse, file, rows)
        journal.filed([uid for uid, _, _ in rows]).result()
    late = journal.labels()
    if late:
        file_labels(warehouse, [LabelRow.model_validate_json(row) for _, row in late])
        journal.labels_filed([name for name, _ in late]).result()
    return len(closed)


def _write(journal: Journal, warehouse: Warehouse, file: str, rows: Sequence[tuple[str, Any, Any]]) -> None:
    landing, staging = warehouse.root / ARTEFACT, warehouse.root / ARTEFACT / f".tmp-{file}"
    make_private(landing)
    shutil.rmtree(staging, ignore_errors=True)
    stones = tombstones(warehouse)
    with LandingWriter(staging, file_name=file) as writer:
        for uid, about, label in rows:
            if not stones.holds(uid):
                log_trace(recovered(journal, uid, about), label, writer)
    for written in sorted(staging.glob("day=*/*.jsonl")):
        _move(written, landing / written.parent.name / written.name)
    shutil.rmtree(staging, ignore_errors=True)


def _move(written: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    written.replace(target)


def log_trace(trace: Trace, label: dict[str, Any] | None, writer: LandingWriter) -> None:
    """Write a trace through the SDK, by the times at which it happened."""
    steps, about = trace.steps(), trace.about
    times = [datetime.fromisoformat(about["opened_at"]), *(step.timestamp or trace.last_at for step in steps)]
    clock: Iterator[datetime] = iter([*times, trace.last_at])
    log = ExecutionLogger(
        trace.task,
        domain=about["domain"],
        task_id=about["task_id"],
        scope=about["scope"],
        source=about["source"],
        model=trace.models[-1] if trace.models else "",
        shown_memory=trace.shown,
        landing=writer,
        clock=lambda: next(clock),
        id_factory=lambda: trace.uid.partition(":")[2],
    )
    for step in steps:
        log.log_step(step.state, (step.tool, step.arguments), step.reasoning, step.result, success=step.success)
    if label:
        log.set_outcome(label["outcome"], label["reward"], by=label["by"])
    log.finalize_trajectory()


def label_of(outcome: str | None, score: float | None, threshold: float) -> tuple[str, float | None]:
    """Outcome and reward that feedback gives: its own word, else its score against a threshold.

    Raises:
        InputError: it gives neither.
    """
    if outcome is None and score is None:
        raise InputError("the feedback says nothing", expected="outcome (success, failure, partial) or score")
    if outcome is None and score is not None:
        outcome = "success" if score >= threshold else "failure"
    return str(outcome), score

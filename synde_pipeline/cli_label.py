"""`synde label`: a person says what became of a run. `cli` puts it among the others."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.errors import InputError
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse

OUTCOMES, SOURCES = ("success", "failure", "partial"), ("human", "user", "judge", "verifier")


def label(
    trace_uid: Annotated[str, typer.Argument(help="The run, as synde sql 'select trace_uid from raw_logs' names it.")],
    outcome: Annotated[str, typer.Argument(help="success, failure or partial.")],
    by: Annotated[str, typer.Option(help="Who says so: human, user, judge or verifier.")] = "human",
    reward: Annotated[float | None, typer.Option(help="The score, where there is one.")] = None,
    at: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"], help="When it was said (UTC); now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of a run; of several labels the last one counts, over what the log says.

    The run is known from the label's day on: `synde run` makes that day and the run's own day again. What a cycle has
    learned from it under another label is reported as superseded. JSON keys: trace_uid, outcome, label_source, at, day.
    """
    from synde_pipeline.logs.labels import LabelRow, file_labels
    from synde_pipeline.logs.landing import day_index, landing_days, uid_hash

    for value, known, name in ((outcome, OUTCOMES, "the outcome"), (by, SOURCES, "--by")):
        if value not in known:
            raise InputError(f"{name} is {value!r}", expected=" or ".join(known))
    warehouse = Warehouse(load().warehouse)
    uid = uid_hash(trace_uid)
    if not any(uid in day_index(warehouse, day) for day in landing_days(warehouse)):
        raise InputError(
            f"no run {trace_uid} in landing",
            expected="the trace_uid of an imported run",
            remedy="see `synde sql 'select trace_uid, task, outcome from raw_logs'`",
        )
    now = datetime.now(UTC)
    when = now if at is None else at.replace(tzinfo=UTC)
    if when > now:
        raise InputError(f"--at is {when.isoformat()}", expected="a time that has come")
    row = LabelRow.model_validate(
        {"trace_uid": trace_uid, "outcome": outcome, "reward": reward, "label_source": by, "at": when}
    )
    file_labels(warehouse, [row])
    told = {"trace_uid": trace_uid, "outcome": outcome, "label_source": by, "at": when.isoformat(), "day": str(row.day)}
    if as_json:
        print_json(told)
    else:
        print(f"{trace_uid}: {outcome}, says a {by}; known from {row.day} on. `synde run` takes it up.")

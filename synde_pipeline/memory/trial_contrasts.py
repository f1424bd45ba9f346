"""`trial_contrasts`: what a language model says of several trials of a task, for every set that the fold may look up.

The fold reads this table and asks nobody. It is a function of the ledger, of the trials' logs and of the answers in
`llm_cache`; a late trial makes new sets, whose answers are asked for when this is published again.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from functools import cache

import pyarrow as pa

from synde_pipeline.llm import Llm, Price, Request, rule_of
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.memory.daily import MEMORY
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.rows import Row
from synde_pipeline.memory.sources import WhyNot, listening
from synde_pipeline.memory.store import read_rows
from synde_pipeline.memory.trials import NOBODY_ASKED, Advice, sets_of
from synde_pipeline.records import Lesson, Trajectory
from synde_pipeline.reflection.daily import LESSON
from synde_pipeline.reflection.trials import TrialsAnswer, lessons_from, trials_request
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse, rows_hash

ARTEFACT = "trial_contrasts"

_TABLE = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("trace_uids", pa.list_(pa.string()), nullable=False),
        pa.field("lessons", pa.list_(LESSON), nullable=False),
    ]
)


def is_asking(settings: Settings) -> bool:
    """Whether a language model contrasts trials."""
    return settings.reflection.engine == "llm" and settings.reflection.trials > 1


def price_of_contrasts(warehouse: Warehouse, settings: Settings, llm: Llm) -> Price:
    """What contrasting the trials of the ledger would cost at most by new calls."""
    return sum(map(llm.price, _requests(warehouse, settings).values()), Price())


def publish_contrasts(warehouse: Warehouse, settings: Settings, llm: Llm) -> Header | None:
    """Ask about every set of trials, from the cache where the answer is there: all of them, or the table stays.

    None where nobody is to be asked and nobody was.

    Raises:
        LlmError: a language model did not answer about one of them; the answers that came are kept.
    """
    if not is_asking(settings) and warehouse.header(ARTEFACT, "") is None:
        return None
    sets = _trials(warehouse, settings)
    requests = _requests(warehouse, settings, sets)
    keys = sorted(requests)
    answers: list[TrialsAnswer] = llm.each(llm.ask, [requests[key] for key in keys])
    rows = [
        {
            "key": key,
            "trace_uids": [run.trace_uid for run in sets[key]],
            "lessons": [lesson.model_dump() for lesson in lessons_from(sets[key], answer)],
        }
        for key, answer in zip(keys, answers, strict=True)
    ]
    rule = {"most": settings.reflection.trials, "llm": rule_of(settings.llm)} if is_asking(settings) else {"most": 0}
    return _publish(warehouse, rows, rule)


def _publish(warehouse: Warehouse, rows: list[dict], rule: dict) -> Header:
    header = Header(
        artefact=ARTEFACT,
        key="",
        content_hash=rows_hash(rows, rule),
        counts={"contrasts": len(rows), "lessons": sum(len(row["lessons"]) for row in rows)},
        info={"rule": rule},
    )
    return warehouse.publish_table(header, pa.Table.from_pylist(rows, schema=_TABLE))


def forget_contrasts(warehouse: Warehouse, uids: Iterable[str]) -> None:
    """Drop what was said of sets that held any of these trajectories; sets without them are asked about when next."""
    header = warehouse.header(ARTEFACT, "")
    if header is not None:
        gone, rows = set(uids), warehouse.read_table(ARTEFACT, "").to_pylist()
        _publish(warehouse, [row for row in rows if not gone & set(row["trace_uids"])], header.info["rule"])


def read_advice(warehouse: Warehouse) -> Advice:
    """What the fold looks up."""
    header = warehouse.header(ARTEFACT, "")
    if header is None:
        return NOBODY_ASKED
    rows = warehouse.read_table(ARTEFACT, "").to_pylist()
    said = {row["key"]: tuple(map(Lesson.model_validate, row["lessons"])) for row in rows if row["lessons"]}
    return Advice(header.info["rule"]["most"], said, header.content_hash)


def advice_hash(warehouse: Warehouse) -> str:
    """Content hash of what the fold looks up; empty where nobody was asked."""
    header = warehouse.header(ARTEFACT, "")
    return header.content_hash if header else ""


# -- sets of trials, as their logs have them -----------------------------------------------------------------------


def _requests(
    warehouse: Warehouse, settings: Settings, sets: dict[str, list[Trajectory]] | None = None
) -> dict[str, Request[TrialsAnswer]]:
    """What is asked about each set, by its key."""
    sets = _trials(warehouse, settings) if sets is None else sets
    return {key: trials_request(trials, settings.reflection) for key, trials in sets.items()}


def _trials(warehouse: Warehouse, settings: Settings) -> dict[str, list[Trajectory]]:
    """The trials of each set, with the outcomes that the ledger says; a set whose logs are not there waits for them."""
    if not is_asking(settings) or not warehouse.keys(MEMORY):
        return {}
    ledger = Ledger.read(read_rows(warehouse, date.max))

    @cache
    def listening_on(day: date) -> WhyNot:
        return listening(ledger.quarantined(day), settings.memory)

    sets: dict[str, list[Row]] = {}
    for domain in ledger.domains.values():
        sets |= sets_of(domain, settings.reflection.trials, ledger.edit_days, listening_on)
    logs = _logs(warehouse, {row for rows in sets.values() for row in rows})
    found = {}
    for key, rows in sets.items():
        runs = [logs.get((row.delta.day, row.delta.trace_uid)) for row in rows]
        if all(runs):
            found[key] = [_as_known(run, row) for run, row in zip(runs, rows, strict=True) if run]
    return found


def _logs(warehouse: Warehouse, rows: Iterable[Row]) -> dict[tuple[date, str], Trajectory]:
    wanted: dict[date, set[str]] = defaultdict(set)
    for row in rows:
        wanted[row.delta.day].add(row.delta.trace_uid)
    days = [day for day in sorted(wanted) if warehouse.header(RAW_LOGS, str(day))]
    return {
        (day, run.trace_uid): run
        for day in days
        for run in load_raw_logs(warehouse, day)
        if run.trace_uid in wanted[day]
    }


def _as_known(run: Trajectory, row: Row) -> Trajectory:
    """A run with the outcome that the ledger has: a judge may have said it."""
    if run.outcome == row.delta.outcome:
        return run
    return run.model_copy(update={"outcome": row.delta.outcome, "label_source": "judge"})

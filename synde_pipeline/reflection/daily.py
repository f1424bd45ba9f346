"""`reflections[D]`: one reflection per trajectory of the day, as Parquet."""

from datetime import date
from typing import Any

import pyarrow as pa

from synde_pipeline.errors import MissingAnswerError
from synde_pipeline.lineage import fresh_header
from synde_pipeline.llm import Llm, Price, Request, rule_of
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import load_raw_logs
from synde_pipeline.records import Reflection, Trajectory, content_hash
from synde_pipeline.reflection.reflector import price_of, reflector, rule_hash, uses_llm
from synde_pipeline.settings import LlmConfig, ReflectionConfig, Settings
from synde_pipeline.storage import Header, Warehouse

ARTEFACT = "reflections"
RULE = "reflector"
"""Input of every day: the hash of the settings that its reflections follow."""

LESSON = pa.struct(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in ("kind", "scope", "title", "description", "content", "suspect")
    ]
)
_TAG = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("item_id", "verdict")])

REFLECTIONS = pa.schema(
    [
        pa.field("trace_uid", pa.string(), nullable=False),
        pa.field("task_id", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("label_source", pa.string(), nullable=False),
        pa.field("effective_day", pa.date32(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("shown", pa.list_(pa.string()), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("strategy", pa.string(), nullable=False),
        pa.field("why", pa.string(), nullable=False),
        pa.field("principle", pa.string(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("error_step", pa.int32()),
        pa.field("error_identification", pa.string(), nullable=False),
        pa.field("root_cause", pa.string(), nullable=False),
        pa.field("correct_approach", pa.string(), nullable=False),
        pa.field("key_insight", pa.string(), nullable=False),
        pa.field("tags", pa.list_(_TAG), nullable=False),
        pa.field("path", pa.list_(pa.string()), nullable=False),
        pa.field("n_tool_errors", pa.int32(), nullable=False),
        pa.field("n_repeated_failures", pa.int32(), nullable=False),
        pa.field("features", pa.list_(pa.string()), nullable=False),
        pa.field("lessons", pa.list_(LESSON), nullable=False),
    ]
)


def publish_reflections(
    warehouse: Warehouse, day: date, settings: Settings | None = None, llm: Llm | None = None
) -> Header:
    """Reflect on each trajectory of a day's raw logs, alone: all of them, or the day stays as it was.

    Args:
        warehouse: where they lie.
        day: the partition.
        settings: who reads and judges; None takes the defaults, which ask no language model.
        llm: the run's access to a language model, with its budget; None opens one for this day.

    Raises:
        LineageError: the day's raw logs are missing.
        LlmError: a language model did not answer about one of them; the answers that came are kept.
    """
    settings = settings or Settings()
    llm = llm or Llm(warehouse, settings.llm)
    raw = fresh_header(warehouse, RAW_LOGS, str(day), {})
    asked: list[Request[Any]] = []

    def ask(request: Request[Any]) -> Any:
        asked.append(request)
        return llm.ask(request)

    read = reflector(settings.reflection, ask)
    trajectories = load_raw_logs(warehouse, day)
    is_asking = uses_llm(settings.reflection)
    reflections = llm.each(read, trajectories) if is_asking else [read(item) for item in trajectories]
    counts = {
        "reflections": len(reflections),
        "lessons": sum(len(item.lessons) for item in reflections),
        "judged": sum(item.label_source == "judge" for item in reflections),
    }
    header = Header(
        artefact=ARTEFACT,
        key=str(day),
        content_hash=_hash_of(reflections),
        inputs={RAW_LOGS: raw.content_hash, RULE: rule_hash(settings)},
        counts=counts | (_taken(llm, asked) if is_asking else {}),
        info={"settings": _settings_that_count(settings)},
    )
    return warehouse.publish_table(header, _table(reflections))


def _hash_of(reflections: list[Reflection]) -> str:
    return content_hash([item.model_dump(mode="json") for item in reflections])


def _table(reflections: list[Reflection]) -> pa.Table:
    return pa.Table.from_pylist([item.model_dump() for item in reflections], schema=REFLECTIONS)


def _taken(llm: Llm, asked: list[Request[Any]]) -> dict[str, int]:
    """What the answers took when they were asked for; the same whenever the day is materialised again."""
    answers = [answer for request in asked if (answer := llm.answer_of(request))]
    return {
        "llm_answers": len(answers),
        "llm_calls": sum(answer.calls for answer in answers),
        "llm_tokens_in": sum(answer.tokens_in for answer in answers),
        "llm_tokens_out": sum(answer.tokens_out for answer in answers),
    }


def _settings_that_count(settings: Settings) -> dict[str, Any]:
    llm = {"llm": rule_of(settings.llm)} if uses_llm(settings.reflection) else {}
    return {"reflection": settings.reflection.model_dump(), **llm}


def _settings_of(header: Header | None) -> Settings:
    """The settings that a day was reflected on with, without new calls."""
    recorded = header.info.get("settings", {}) if header else {}
    return Settings(
        reflection=ReflectionConfig.model_validate(recorded.get("reflection", {})),
        llm=LlmConfig.model_validate({**recorded.get("llm", {}), "is_offline": True}),
    )


def price_of_day(warehouse: Warehouse, day: date, settings: Settings, llm: Llm) -> Price:
    """What reflecting on a day's raw logs would cost at most by new calls."""
    is_there = uses_llm(settings.reflection) and warehouse.header(RAW_LOGS, str(day)) is not None
    return price_of(llm, settings, load_raw_logs(warehouse, day)) if is_there else Price()


def stale_reflections(warehouse: Warehouse, settings: Settings) -> list[str]:
    """Days with raw logs whose reflections are missing, or follow other raw logs or other settings."""
    rule = rule_hash(settings)
    return [key for key in warehouse.keys(RAW_LOGS) if not _is_current(warehouse, key, rule)]


def _is_current(warehouse: Warehouse, key: str, rule: str) -> bool:
    raw, found = warehouse.header(RAW_LOGS, key), warehouse.header(ARTEFACT, key)
    if raw is None or found is None:
        return False
    return found.inputs.get(RAW_LOGS) == raw.content_hash and found.inputs.get(RULE) == rule


def reflect_without_calls(warehouse: Warehouse, day: date, settings: Settings) -> Header:
    """Reflect on a day's raw logs without new calls: nobody who is not about to pay is made to.

    Where an answer is missing (logs that no model has read yet), the reflections that are there stay, those of logs
    that are gone excepted, and the day is stale until it is materialised.
    """
    try:
        return publish_reflections(warehouse, day, settings.without_calls())
    except MissingAnswerError:
        raw, header = fresh_header(warehouse, RAW_LOGS, str(day), {}), warehouse.header(ARTEFACT, str(day))
        there = {item.trace_uid for item in load_raw_logs(warehouse, day)}
        found = load_reflections(warehouse, day) if header else []
        kept = [item for item in found if item.trace_uid in there]
        inputs = {RAW_LOGS: raw.content_hash}  # of no rule, so that every rule finds it stale
        header = header or Header(artefact=ARTEFACT, key=str(day), content_hash="", counts={"reflections": 0})
        header = header.model_copy(update={"content_hash": _hash_of(kept), "inputs": inputs})
        return warehouse.publish_table(header, _table(kept))


def reflect_again(warehouse: Warehouse, day: date) -> Header:
    """Reflect on a day's raw logs with the settings that it was reflected on before, without new calls."""
    return reflect_without_calls(warehouse, day, _settings_of(warehouse.header(ARTEFACT, str(day))))


def reflect_as_then(warehouse: Warehouse, trajectory: Trajectory) -> Reflection:
    """Reflect on a content that the raw logs hold no more as on its day's others; by rules where no model read it."""
    settings = _settings_of(warehouse.header(ARTEFACT, str(trajectory.day)))
    try:
        return reflector(settings.reflection, Llm(warehouse, settings.llm).ask)(trajectory)
    except MissingAnswerError:
        judge = "off" if settings.reflection.judge == "off" else "rules"
        config = ReflectionConfig(engine="rules", judge=judge)
        return reflector(config, Llm(warehouse, settings.llm).ask)(trajectory)


def load_reflections(warehouse: Warehouse, day: date) -> list[Reflection]:
    """Reflections of one materialised day."""
    return [Reflection.model_validate(row) for row in warehouse.read_table(ARTEFACT, str(day)).to_pylist()]

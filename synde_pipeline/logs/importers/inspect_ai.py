"""Inspect AI logs, `.eval` and `.json`, read natively: one run a sample and epoch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synde_pipeline.logs.archives import Archive
from synde_pipeline.logs.choices import domain_name
from synde_pipeline.logs.importers.base import Declared, Draft, Importer, outcome_of, parse_time
from synde_pipeline.logs.importers.chat import Message, arguments_of, conversation_of, text_of
from synde_pipeline.logs.importers.inspect_samples import Broken, is_sample, messages_of, resolved, samples_of
from synde_pipeline.records import LabelSource, Outcome, content_hash

_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Correct, partial, incorrect, no answer."""
_LONGEST_UID = 150


class InspectAi(Importer):
    """Importer of Inspect AI."""

    name = "inspect-ai"
    declared = Declared(
        identity="`uuid`, else the eval's id, the sample's id and its epoch",
        time="`started_at`, else the first event, else `eval.created`",
        domain="`eval.task`",
        task="first user turn, else `input`",
        steps="one a tool call, one a reply of `messages`; newer logs' attachments and pools are put in their places",
        outcome="`scores`: C, P, I, N or a number from 0 to 1; of scorers that disagree none, and --outcome chooses",
        label_source="judge for scorers that ask a model, else verifier",
        ground_truth=("target", "metadata", "store", "files", "setup"),
        dropped=("choices", "output", "events", "scores.*.explanation", "error", "limit", "model_usage"),
    )
    known = frozenset(
        {"id", "epoch", "input", "choices", "target", "sandbox", "files", "setup", "messages", "output", "scores"}
        | {"score", "metadata", "store", "events", "timelines", "model_usage", "role_usage", "started_at", "uuid"}
        | {"completed_at", "total_time", "working_time", "invalidation", "error", "error_retries", "attachments"}
        | {"events_data", "message_pool", "call_pool", "limit", "transcript", "eval", "message_refs", "sequences"}
    )

    def detects(self, document: Any) -> bool:
        """An object with an `eval` that has a task, or an archive with a header and samples."""
        if isinstance(document, Archive):
            return _HEADS.intersection(document.names) != set() and any(map(is_sample, document.names))
        return _is_log(document) and isinstance(document.get("samples"), list)

    def tells(self, document: Any) -> str:
        """A log that was written without its samples."""
        if isinstance(document, Archive):
            is_log = bool(_HEADS.intersection(document.names)) and not any(map(is_sample, document.names))
        else:
            is_log = _is_log(document) and not document.get("samples")
        return "Inspect AI log without samples" if is_log else ""

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the samples."""
        yield from samples_of(document)

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one sample.

        Raises:
            KeyError, TypeError, ValueError: it is broken, or was invalidated.
        """
        if isinstance(row, Broken):
            raise ValueError(row.reason)
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        if (invalid := row.get("invalidation")) is not None:
            raise ValueError(f"invalidated: {_reason_of(invalid)}")
        head = row["eval"]
        domain = domain_name(str(head["task"]).rsplit("/", 1)[-1])
        epoch = row["epoch"]
        talk = conversation_of(_messages(row))
        outcome, reward, label_source = _verdict_of(row)
        times = [event.get("timestamp") for event in row.get("events") or ()] or [None]
        return Draft(
            trace_uid=f"{self.name}:{_native_id(row, head)}",
            task_id=f"inspect:{domain}:{row['id']}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            outcome=outcome,
            reward=reward,
            label_source=label_source,
            trial=epoch - 1,
            model=str(head.get("model") or ""),
            system=talk.system,
            started_at=parse_time(row.get("started_at") or times[0] or head.get("created")),
            ended_at=parse_time(row.get("completed_at") or times[-1]),
        )

    def scores(self, row: Any) -> Mapping[str, float]:
        """Every scorer's value; of a scorer with several values `scorer.name`."""
        found = {}
        for name, score in _scores_of(row).items():
            value = score["value"]
            parts = value.items() if isinstance(value, dict) else [("", value)]
            found |= {f"{name}.{part}" if part else name: _number(one) for part, one in parts}
        return {name: value for name, value in found.items() if value is not None}


_HEADS = frozenset({"header.json", "_journal/start.json"})


def _is_log(document: Any) -> bool:
    if not isinstance(document, dict) or not isinstance(document.get("eval"), dict):
        return False
    return "task" in document["eval"] and ("status" in document or "plan" in document)


def _reason_of(invalid: Any) -> str:
    reason = invalid.get("reason") if isinstance(invalid, dict) else invalid
    return str(reason or "the log gives no reason")


def _native_id(row: dict[str, Any], head: dict[str, Any]) -> str:
    eval_id = head.get("eval_id") or head.get("run_id") or head.get("created") or ""
    native = str(row.get("uuid") or f"{eval_id}:{row['id']}:{row['epoch']}")
    return native if len(native) <= _LONGEST_UID else content_hash(native)[:24]


def _messages(row: dict[str, Any]) -> list[Message]:
    messages = [_message(raw) for raw in messages_of(row)]
    if any(message.role == "user" and message.text for message in messages):
        return messages
    said = resolved(row["input"], row.get("attachments") or {})
    told = [_message(raw) for raw in said] if isinstance(said, list) else [Message("user", text_of(said))]
    return [*told, *(message for message in messages if message.role != "system")]


def _message(raw: Any) -> Message:
    content, thoughts = raw.get("content"), []
    if isinstance(content, list):
        thoughts = [part for part in content if _is_thought(part)]
        content = [part for part in content if not _is_thought(part)]
    text, error = text_of(content), raw.get("error")
    if isinstance(error, dict) and not text:
        text = str(error.get("message") or "")
    return Message(
        role=str(raw["role"]),
        text=text,
        calls=tuple(
            (str(call.get("id") or ""), "_".join(str(call["function"]).split()), arguments_of(call.get("arguments")))
            for call in raw.get("tool_calls") or ()
        ),
        call_id=str(raw.get("tool_call_id") or ""),
        is_error=error is not None if raw["role"] == "tool" else None,
        reasoning="\n".join(str(part.get("reasoning") or part.get("summary") or "") for part in thoughts),
    )


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "reasoning"


def _scores_of(row: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(row, dict):
        return {}
    scores = row.get("scores") or ({"score": row["score"]} if row.get("score") else {})
    return {str(name): score for name, score in scores.items() if isinstance(score, dict) and "value" in score}


def _verdict_of(row: dict[str, Any]) -> tuple[Outcome, float | None, LabelSource]:
    """What the scorers say: those that test before those that ask a model, and only if they agree."""
    by_source: dict[LabelSource, set[float]] = {"verifier": set(), "judge": set()}
    for name, score in _scores_of(row).items():
        value = _number(score["value"])
        if value is not None and 0 <= value <= 1:
            by_source[_source_of(name, score)].add(value)
    for source, values in by_source.items():
        if len(values) == 1:
            (value,) = values
            return outcome_of(value)[0], value, source
        if values:
            break
    return "unknown", None, "none"


def _source_of(name: str, score: dict[str, Any]) -> LabelSource:
    metadata = score.get("metadata")
    asked = "model_graded" in name or "judge" in name or (isinstance(metadata, dict) and "grading" in metadata)
    return "judge" if asked else "verifier"


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return _GRADES.get(value)
    return float(value) if isinstance(value, bool | int | float) and value == value else None

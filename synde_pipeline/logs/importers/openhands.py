"""OpenHands evaluations: one run a line of `output.jsonl`, in the layout of 2024 (pairs) and the flat one since."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from synde_pipeline.logs.choices import domain_name
from synde_pipeline.logs.importers.base import Declared, Draft, Importer, outcome_of, parse_time
from synde_pipeline.logs.importers.chat import Message, arguments_of, conversation_of, text_of
from synde_pipeline.logs.importers.swe_bench import DOMAIN, key_of, named
from synde_pipeline.records import content_hash

_NO_ACTS = frozenset({"recall", "change_agent_state", "condensation", "condensation_request", "null"})
_BOOKKEEPING = frozenset(
    {"thought", "confirmation_state", "security_risk", "hidden", "blocking", "is_static"}
    | {"keep_prompt", "impl_source"}
)
_VERDICTS = (
    ("report", "resolved"),
    ("test_result", "report", "resolved"),
    ("test_result", "result", "resolved"),
    ("test_result", "resolved"),
    ("test_result",),
    ("resolved",),
    ("correct",),
)
"""Paths to a benchmark's yes or no, most final first."""


class OpenHands(Importer):
    """Importer of OpenHands."""

    name = "openhands"
    declared = Declared(
        identity="hash of the raw line: the format has no ids",
        time="`timestamp` of the first event, else `metadata.start_time`; naive ones are read as UTC",
        domain="the benchmark: `metadata.dataset`, else a folder of `metadata.eval_output_dir`; software for SWE-bench",
        task="first message of the user",
        steps="one an event with an `action` of the agent",
        outcome="`report.resolved`, `test_result` or `correct`; a SWE-bench report in the same import gives it too",
        label_source="verifier",
        ground_truth=("instance", "test_result.ground_truth"),
        dropped=("metrics", "text", "hallucination", "answer_id", "error", "history.extras"),
    )
    known = frozenset(
        {"instance_id", "instance", "instruction", "metadata", "history", "metrics", "error"}
        | {"test_result", "report", "question_id", "text", "correct", "hallucination", "answer_id"}
        | {"model_id", "resolved"}
    )

    def detects(self, document: Any) -> bool:
        """Rows whose `history` are events with an action or an observation, or pairs of such."""
        return isinstance(document, list) and any(map(_is_run, document))

    def tells(self, document: Any) -> str:
        """The settings beside the runs."""
        is_one = isinstance(document, dict) and document.keys() >= {"agent_class", "max_iterations"}
        return "OpenHands settings" if is_one and "history" not in document else ""

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the lines."""
        yield from document

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one run."""
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        events = [event for entry in row["history"] for event in (entry if isinstance(entry, list) else [entry])]
        talk = conversation_of(_messages(events))
        metadata = row.get("metadata") or {}
        benchmark = _benchmark_of(metadata)
        task_id, scope = named(str(row.get("instance_id") or ""), benchmark)
        domain = DOMAIN if scope else benchmark
        if not scope:
            task_id = f"{benchmark}:{benchmark}:{_number_of(row, metadata)}"
        reward = _verdict_of(row)
        outcome, label_source = outcome_of(reward)
        times = [at for event in events if (at := parse_time(event.get("timestamp"))) is not None]
        started = parse_time(metadata.get("start_time")) if not times else min(times)
        return Draft(
            trace_uid=f"{self.name}:{content_hash(row)[:24]}",
            task_id=task_id,
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            outcome=outcome,
            reward=reward,
            label_source=label_source,
            model=_model_of(row, metadata),
            system=talk.system,
            scope=scope,
            started_at=started,
            ended_at=max(times) if times else None,
        )

    def label_key(self, row: Any, draft: Draft) -> str:
        """The instance's name in reports."""
        return key_of(str(row["instance_id"])) if draft.scope else ""


def _is_run(row: Any) -> bool:
    history = row.get("history") if isinstance(row, dict) else None
    if not isinstance(history, list) or not history:
        return False
    first = history[0][0] if isinstance(history[0], list) and history[0] else history[0]
    return isinstance(first, dict) and ("action" in first or "observation" in first) and "role" not in first


def _messages(events: list[dict[str, Any]]) -> Iterator[Message]:
    for event in events:
        args = event.get("args") or {}
        if isinstance(action := event.get("action"), str):
            if (message := _act(event, action, args)) is not None:
                yield message
        elif event["observation"] == "error":
            yield Message("tool", text_of(event.get("content")), call_id=str(event.get("cause", "")), is_error=True)
        elif text := text_of(event.get("content")):
            yield Message("tool", text, call_id=str(event.get("cause", "")), is_error=_failed(event))


def _act(event: dict[str, Any], action: str, args: Mapping[str, Any]) -> Message | None:
    """What an event with an action says or does; None where it is the harness's own business."""
    said = text_of(args.get("content") or event.get("message"))
    if action == "system":
        return Message("system", said)
    if event.get("source") == "user":
        return Message("user", said) if action == "message" else None
    if event.get("source") != "agent" or action in _NO_ACTS:
        return None
    at = parse_time(event.get("timestamp"))
    if action == "message":
        return Message("assistant", said, at=at, reasoning=str(args.get("thought") or ""))
    done = {key: value for key, value in args.items() if key not in _BOOKKEEPING and value is not None}
    call = (str(event.get("id", "")), action, arguments_of(done))
    return Message("assistant", str(args.get("thought") or ""), (call,), at=at)


def _failed(event: dict[str, Any]) -> bool | None:
    """Whether what the agent did failed, by its exit code; -1 is a command that still ran."""
    extras = event.get("extras") or {}
    code = extras.get("exit_code", (extras.get("metadata") or {}).get("exit_code"))
    if isinstance(code, int) and code != -1:
        return code != 0
    said = event.get("success")
    return not said if isinstance(said, bool) and code != -1 else None


def _verdict_of(row: dict[str, Any]) -> float | None:
    for path in _VERDICTS:
        at: Any = row
        for part in path:
            at = at.get(part) if isinstance(at, dict) else None
        if isinstance(at, bool | int) and at in (0, 1):
            return float(at)
    return None


def _benchmark_of(metadata: dict[str, Any]) -> str:
    if dataset := metadata.get("dataset"):
        return domain_name(str(dataset).rsplit("/", 1)[-1])
    folders = str(metadata.get("eval_output_dir") or "").split("/")
    below = [folder for above, folder in pairwise(folders) if above == "outputs"]
    return domain_name(below[-1]) if below else "openhands"


def _number_of(row: dict[str, Any], metadata: dict[str, Any]) -> str:
    if row.get("instance_id") is not None:
        return str(row["instance_id"])
    hub = metadata.get("hub")
    return f"{hub}/{row['question_id']}" if hub else str(row["question_id"])


def _model_of(row: dict[str, Any], metadata: dict[str, Any]) -> str:
    config = metadata.get("llm_config") or {}
    return str(config.get("model") or metadata.get("model_name") or row.get("model_id") or "")

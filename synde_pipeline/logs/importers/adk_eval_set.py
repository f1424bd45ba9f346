"""Evaluation sets of Google's ADK: sessions that were saved as cases, one run a case, never judged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.choices import domain_name
from synde_pipeline.logs.importers.base import Declared, Draft, Importer, parse_time
from synde_pipeline.logs.importers.chat import Message, conversation_of
from synde_pipeline.logs.importers.turns import turns_of
from synde_pipeline.records import content_hash


class AdkEvalSet(Importer):
    """Importer of ADK evaluation sets."""

    name = "adk-eval-set"
    declared = Declared(
        identity="`eval_set_id` and `eval_id`",
        time="`creation_timestamp`",
        domain="`session_input.app_name`, else `eval_set_id`",
        task="`user_content` of the first invocation",
        steps="one a tool use, one a final response",
        outcome="none: a case says what is expected, nobody judged it",
        label_source="none",
        dropped=("name", "description"),
    )
    known = frozenset({"eval_id", "conversation", "session_input", "creation_timestamp"})

    def detects(self, document: Any) -> bool:
        """An object with `eval_set_id` and a list of `eval_cases`."""
        return isinstance(document, dict) and "eval_set_id" in document and isinstance(document["eval_cases"], list)

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the cases."""
        yield from document["eval_cases"]

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one case."""
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        eval_set, session = str(document["eval_set_id"]), row.get("session_input") or {}
        talk = conversation_of([message for one in row["conversation"] for message in _messages(one)])
        domain = domain_name(str(session.get("app_name") or eval_set))
        native = f"{eval_set}:{row['eval_id']}"
        created = [one.get("creation_timestamp") for one in row["conversation"]]
        return Draft(
            trace_uid=f"{self.name}:{native if len(native) <= 150 else content_hash(native)[:24]}",
            task_id=f"{self.name}:{domain}:{row['eval_id']}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            started_at=parse_time(row.get("creation_timestamp") or created[0]),
        )


def _messages(invocation: dict[str, Any]) -> Iterator[Message]:
    """One turn: the user's words, tool uses with what came back, the answer."""
    between = invocation.get("intermediate_data") or {}
    yield from turns_of({"role": "user", **invocation["user_content"]})
    said = [
        *({"role": "model", "parts": [{"function_call": use}]} for use in between.get("tool_uses") or ()),
        *({"role": "user", "parts": [{"function_response": one}]} for one in between.get("tool_responses") or ()),
        *(event.get("content") for event in between.get("invocation_events") or () if event.get("content")),
    ]
    yield from turns_of([*said, {"role": "model", **(invocation.get("final_response") or {})}])

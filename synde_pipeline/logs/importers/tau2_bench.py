"""tau2-bench simulation files: one JSON object with `info`, `tasks` and `simulations`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Declared, Draft, Importer, outcome_of, parse_time
from synde_pipeline.logs.importers.chat import conversation_of, message_of, without_user_side
from synde_pipeline.records import content_hash


class Tau2Bench(Importer):
    """Importer of tau2-bench."""

    name = "tau2-bench"
    declared = Declared(
        identity="the simulation's `id`",
        time="`start_time`, without a zone: read as UTC",
        domain="`info.environment_info.domain_name`",
        task="first user turn",
        steps="one a tool call of the agent, one a reply",
        outcome="`reward_info.reward`, 1 is success",
        label_source="verifier",
        ground_truth=("tasks", "reward_info"),
        dropped=("info.user_info", "agent_cost", "user_cost", "raw_data"),
    )

    def detects(self, document: Any) -> bool:
        """An object with a list of `simulations` and an `info`."""
        return isinstance(document, dict) and isinstance(document.get("simulations"), list) and "info" in document

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the simulations in file order."""
        yield from document["simulations"]

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one simulation."""
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        info = document["info"]
        domain = str(info["environment_info"]["domain_name"]).lower()
        reward = (row.get("reward_info") or {}).get("reward")
        outcome, label_source = outcome_of(reward)
        raw = row["messages"]
        user_calls = {
            str(call.get("id", ""))
            for message in raw
            if message["role"] == "user"
            for call in message.get("tool_calls") or ()
        }
        talk = conversation_of(without_user_side(map(message_of, raw), user_calls))
        # Retail tasks are those of tau-bench v1 under the same numbers; airline tasks were renumbered.
        family = "tau" if domain == "retail" else "tau2"
        return Draft(
            trace_uid=f"{self.name}:{row.get('id') or content_hash(row)[:24]}",
            task_id=f"{family}:{domain}:{row['task_id']}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            outcome=outcome,
            reward=reward,
            label_source=label_source,
            trial=int(row.get("trial") or 0),
            model=str((info.get("agent_info") or {}).get("llm") or ""),
            system=talk.system or str(info["environment_info"].get("policy") or ""),
            started_at=parse_time(row.get("start_time")),
            ended_at=parse_time(row.get("end_time")),
        )

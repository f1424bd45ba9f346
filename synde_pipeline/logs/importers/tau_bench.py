"""tau-bench v1 run files: a JSON array of trials."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Declared, Draft, Importer, outcome_of
from synde_pipeline.logs.importers.chat import conversation_of, message_of
from synde_pipeline.records import content_hash

_POLICY_TITLE = re.compile(r"^#+\s*(\w+)\s+agent\s+policy", re.IGNORECASE | re.MULTILINE)
_KEYS = {"task_id", "reward", "traj"}


class TauBench(Importer):
    """Importer of tau-bench v1."""

    name = "tau-bench"
    declared = Declared(
        identity="hash of the raw row: the format has no ids",
        time="none: days by --start-day and --per-day",
        domain="the policy's title, else the file's name",
        task="first user turn",
        steps="one a tool call, one a reply",
        outcome="`reward`, 1 is success",
        label_source="verifier",
        ground_truth=("info",),
        dropped=("records",),
    )
    known = frozenset({"task_id", "reward", "traj", "trial", "info", "records"})

    def detects(self, document: Any) -> bool:
        """A list with an object that has `task_id`, `reward` and `traj`."""
        return isinstance(document, list) and any(isinstance(row, dict) and row.keys() >= _KEYS for row in document)

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the trials in file order."""
        yield from document

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one trial."""
        if not isinstance(row, dict):
            raise TypeError(f"row is {type(row).__name__}, expected an object")
        outcome, label_source = outcome_of(row["reward"])
        talk = conversation_of(message_of(message) for message in row["traj"])
        domain = _domain_of(talk.system, path)
        task = row["task_id"]
        if isinstance(task, bool) or not isinstance(task, int | str):
            raise TypeError(f"task_id is {task!r}, expected an integer")
        return Draft(
            trace_uid=f"{self.name}:{content_hash(row)[:24]}",
            task_id=f"tau:{domain}:{task}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            outcome=outcome,
            reward=row["reward"],
            label_source=label_source,
            trial=int(row.get("trial") or 0),
            system=talk.system,
        )


def _domain_of(system: str, path: Path) -> str:
    """Domain by the policy's title (`# Retail agent policy`), else by a known word in the file's name."""
    if title := _POLICY_TITLE.search(system):
        return title.group(1).lower()
    for domain in ("airline", "retail"):
        if domain in path.name.lower():
            return domain
    raise ValueError("no domain: neither the system message nor the file name tells it")

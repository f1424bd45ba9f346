"""NVIDIA's data flywheel: a row for each call of a model, joined here into the conversations that they were."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from synde_pipeline.logs.choices import first_domain
from synde_pipeline.logs.importers.base import Declared, Draft, Importer, parse_time, task_hash
from synde_pipeline.logs.importers.chat import Message, conversation_of
from synde_pipeline.logs.importers.react import acted
from synde_pipeline.logs.importers.turns import turns_of
from synde_pipeline.records import content_hash

_KEYS = {"workload_id", "client_id", "request", "response"}


@dataclass
class _Call:
    at: datetime
    row: dict[str, Any]
    digests: list[bytes]
    """Of the conversation after each message that the model heard, and after its response."""
    n_heard: int


@dataclass
class _Run:
    """Rows of one conversation, and how far it went: digests of its last request, without the response and with it."""

    rows: list[Any] = field(default_factory=list)
    ends: set[bytes] = field(default_factory=set)


class Flywheel(Importer):
    """Importer of the data flywheel's log records.

    Rows of one client and workload are one run if the messages of each go on from those of the one before. A request
    that is only repeated is another try.
    """

    name = "nvidia-flywheel"
    declared = Declared(
        identity="hash of the run's first row",
        time="`timestamp`, seconds since 1970",
        domain="`workload_id`",
        task="first user turn",
        steps="one a tool call, one a reply, of the last row's request and response",
        outcome="none",
        label_source="none",
        dropped=("usage", "tools", "other choices than the first"),
    )

    def detects(self, document: Any) -> bool:
        """A list with an object of the record's fields."""
        return isinstance(document, list) and any(isinstance(row, dict) and row.keys() >= _KEYS for row in document)

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the rows of each run, first one first; a row that is no record comes alone."""
        groups: dict[tuple[str, str], list[_Call]] = {}
        for row in document:
            try:
                key = (str(row["client_id"]), str(row["workload_id"]))
                call = _call_of(row)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError):
                yield [row]
            else:
                groups.setdefault(key, []).append(call)
        for group in groups.values():
            for run in _joined(sorted(group, key=lambda call: call.at)):
                yield run.rows

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one run."""
        first, last = row[0], row[-1]
        started, ended = parse_time(first["timestamp"]), parse_time(last["timestamp"])
        if started is None:
            raise ValueError("the record carries no time")
        said = {len(_heard(one)): parse_time(one["timestamp"]) for one in row}
        turns = enumerate(_heard(last) + _answer(last))
        talk = conversation_of(replace(acted(turn), at=said.get(k, turn.at)) for k, turn in turns)
        domain = first_domain(last["workload_id"], default="flywheel")
        model = last["request"].get("model")
        return Draft(
            trace_uid=f"{self.name}:{content_hash(first)[:24]}",
            task_id=f"flywheel:{domain}:{task_hash(talk.task)}",
            domain=domain,
            task=talk.task,
            steps=talk.steps,
            model=model if isinstance(model, str) else "",
            system=talk.system,
            started_at=started,
            ended_at=ended,
        )


def _heard(row: dict[str, Any]) -> list[Message]:
    messages = row["request"]["messages"]
    if not isinstance(messages, list):
        raise TypeError(f"messages are {type(messages).__name__}, expected a list")
    return turns_of(messages)


def _answer(row: dict[str, Any]) -> list[Message]:
    return [turn for turn in turns_of(row["response"]) if turn.role == "assistant"][:1]


def _call_of(row: dict[str, Any]) -> _Call:
    at = parse_time(row["timestamp"])
    if at is None:
        raise ValueError("the record carries no time")
    digests, so_far, heard = [], hashlib.sha256(), _heard(row)
    for turn in heard + _answer(row):
        # Without ids and thoughts: what comes back in the next request is often written a little differently.
        calls = [call[1:] for call in turn.calls]
        so_far.update(content_hash([turn.role, turn.text, calls]).encode())
        digests.append(so_far.digest())
    return _Call(at, row, digests, len(heard))


def _joined(calls: list[_Call]) -> Iterator[_Run]:
    runs: list[_Run] = []
    going: dict[bytes, list[_Run]] = {}  # by the digest that the next row of a run begins with
    for call in calls:
        run = _going_on(going, call.digests[: max(call.n_heard - 1, 0)])
        if run is None:
            run = _Run()
            runs.append(run)
        run.rows.append(call.row)
        run.ends = set(call.digests[max(call.n_heard - 1, 0) :])
        for end in run.ends:
            going.setdefault(end, []).append(run)
    yield from runs


def _going_on(going: dict[bytes, list[_Run]], digests: list[bytes]) -> _Run | None:
    """The run that a row continues: the one which shares most of its messages."""
    for digest in reversed(digests):
        waiting = going.get(digest, [])
        while waiting:
            run = waiting.pop()
            if digest in run.ends:
                return run
    return None

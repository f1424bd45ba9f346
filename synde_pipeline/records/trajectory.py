"""One execution of one task by an agent, and what its ids say."""

import hashlib
from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticSerializationError

from synde_pipeline.records.base import Record, UtcTime, canonical_json

SCHEMA_VERSION = 1
"""Raised when the meaning or the columns of stored records change; readers refuse what is newer."""

REPLY = "reply"
"""Tool name of an action that only says something to the user."""

INVALID = "invalid"
"""Tool name of a turn that named no tool."""

Outcome = Literal["success", "failure", "partial", "unknown"]
LabelSource = Literal["verifier", "human", "judge", "user", "none"]
Split = Literal["train", "gate", "report"]


class Step(Record):
    """One action of an agent, with what it saw before and what came back."""

    index: int = Field(ge=0)
    timestamp: UtcTime | None = None
    state: str = ""
    """What the agent saw since its previous action (user turn, tool results); empty inside parallel calls."""
    reasoning: str = ""
    """What the agent wrote before acting; empty when the log has none."""
    tool: str = Field(pattern=r"^\S+$")
    """Name of the tool called, or `reply` when the action is a message to the user."""
    arguments: str = ""
    """Canonical JSON of the tool's arguments, or the message itself for `reply`."""
    result: str = ""
    """What came back: the tool's result or the next user turn."""
    success: bool | None = None
    """Whether the action worked, as the log says it; None when the log does not say."""
    confidence: float | None = Field(default=None, ge=0, le=1)
    """The agent's own certainty, where it was logged."""

    @property
    def action(self) -> str:
        """The action as one text: tool name, then arguments or message."""
        return f"{self.tool} {self.arguments}"


class Trajectory(Record):
    """One execution of one task by an agent."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    trace_uid: str = Field(min_length=3, max_length=200)
    """`<source_system>:<trace_id>`; the id is a hash of the raw record where the log has none."""
    task_id: str = Field(pattern=r"^[^:]+:[^:]+:.+$")
    """`<family>:<domain>:<id>`: the same task in several trials, models or sources shares it."""
    domain: str = Field(pattern=r"^[a-z0-9][a-z0-9_]{0,40}$")
    source: str = Field(min_length=1)
    """Name of the importer that read the log."""
    model: str = ""
    """Model that acted, as logged; empty when the log does not say."""
    trial: int = Field(default=0, ge=0, lt=2**31)
    day: date
    """UTC start date, or the date given by the import rule for logs without times."""
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    system: str = ""
    """System prompt that the agent ran under; kept, not rendered into prompts."""
    scope: str = Field(default="", pattern=r"^$|^[a-z_]+:\S+$")
    """Where it ran, as `<kind>:<name>`: `site:zormek`, `repository:acme/api`; empty when the log does not say."""
    shown_memory: tuple[str, ...] = ()
    """Ids of the memory items that were in the agent's context."""
    task: str = Field(min_length=1)
    """The task as the agent saw it: its first user turn. Never the hidden instruction."""
    steps: tuple[Step, ...]
    """Empty when the run ended before the agent acted."""
    outcome: Outcome
    reward: float | None = None
    label_source: LabelSource

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [step.index for step in self.steps] != list(range(len(self.steps))):
            raise ValueError("step indices must count 0, 1, 2, ... in order")
        if (self.outcome == "unknown") != (self.label_source == "none"):
            raise ValueError("outcome is 'unknown' exactly when label_source is 'none'")
        if self.task_id.split(":")[1] != self.domain:
            raise ValueError(f"task_id {self.task_id!r} names another domain than {self.domain!r}")
        try:
            self.model_dump_json()
        except PydanticSerializationError as error:
            raise ValueError("text holds a lone surrogate, which no UTF-8 store can keep") from error
        return self

    def canonical(self) -> str:
        """Canonical JSON of everything but the day, which an import rule may have chosen."""
        return canonical_json(self.model_dump(mode="json", exclude={"day"}))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical record: equal executions have equal hashes, whatever day they were filed under."""
        return hashlib.sha256(self.canonical().encode("utf-8")).hexdigest()


def split_of(task_id: str, *, gate: float = 0.2, report: float = 0.2) -> Split:
    """Say what a task may be used for: by a hash of its id, so the answer never changes and needs no state.

    Only `train` tasks are learned from; the gate decides on `gate` tasks; reports show `report` tasks.
    """
    fraction = int.from_bytes(hashlib.sha256(task_id.encode("utf-8")).digest()[:8], "big") / 2**64
    train = 1.0 - gate - report
    return "train" if fraction < train else "gate" if fraction < train + gate else "report"


def place_of(scope: str) -> str:
    """Name of the place that a scope names: `zormek` of `site:zormek`; empty for `tool:` scopes and for none."""
    kind, _, name = scope.partition(":")
    return "" if kind == "tool" else name

"""The nouns: frozen, validated records that travel between the stages.

Only data and the checks that make a record valid belong here; reading files is in `logs`, deciding is in the stages.
"""

import hashlib
import json
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
"""Raised when the meaning or the columns of stored records change; readers refuse what is newer."""

REPLY = "reply"
"""Tool name of an action that only says something to the user."""

Outcome = Literal["success", "failure", "partial", "unknown"]
LabelSource = Literal["verifier", "human", "judge", "user", "none"]
Split = Literal["train", "gate", "report"]


def canonical_json(value: Any) -> str:
    """Serialise to the one JSON text that equal values share (sorted keys, no spaces, UTF-8 as is)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def content_hash(value: Any) -> str:
    """Return the SHA-256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def _as_utc(value: Any) -> Any:
    """Read a naive time as UTC: agent logs rarely name a zone, and a day must not depend on the reader's."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(f"time {value} has no UTC equivalent") from error
    return value


UtcTime = Annotated[datetime, BeforeValidator(_as_utc)]


class Record(BaseModel):
    """A frozen record: no unknown fields, no silent coercion, equal by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


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
            self.canonical().encode("utf-8")
        except UnicodeEncodeError as error:
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


class Lesson(Record):
    """One thing a single trajectory teaches, already generalised; the literals that condition it are in `scope`."""

    kind: Literal["strategy", "pitfall", "workflow", "note"]
    scope: str
    """Where it applies: `tool:<name>`, the place its trajectory ran in (`site:zormek`), or empty for the domain."""
    title: str = Field(min_length=1)
    description: str
    """When to use it, and when not."""
    content: str = Field(min_length=1)


class Reflection(Record):
    """What one trajectory, alone, teaches (synde.txt appendix B.1, with ACE's error fields)."""

    trace_uid: str
    task_id: str
    domain: str
    outcome: Outcome
    effective_day: date
    """Day from which on the run's lesson is known: the later of its own day and the day it ended."""
    task: str
    """The task as the agent saw it, redacted: later trajectories are compared with it."""
    strategy: str
    why: str
    principle: str
    confidence: float = Field(ge=0, le=1)
    error_step: int | None = None
    """Index of the step where the run went wrong; None when nothing points to one."""
    root_cause: str = ""
    correct_approach: str = ""
    path: tuple[str, ...]
    """Tools in the order of their calls, without replies, repeats of a neighbour collapsed."""
    n_tool_errors: int = Field(ge=0)
    n_repeated_failures: int = Field(ge=0)
    lessons: tuple[Lesson, ...] = ()


def _key_text(scope: str, title: str, description: str) -> str:
    place = place_of(scope)
    return f"{place} {title}" if place else f"{title}. {description}"


class Delta(Record):
    """One row of the memory's ledger: a curator operation (ADD), or the evidence that the fold contrasts (EVIDENCE)."""

    day: date
    """The trajectory's day: the partition that this row belongs to."""
    effective_day: date
    """Nothing is known before this day: when the run, or its last label, was there."""
    op: Literal["ADD", "EVIDENCE"]
    domain: str
    task_id: str
    trace_uid: str
    outcome: Outcome
    source: Literal["rules"] = "rules"
    kind: str = ""
    scope: str = ""
    title: str = ""
    description: str = ""
    content: str
    """The lesson, or for EVIDENCE the task as the agent saw it."""
    path: tuple[str, ...] = ()
    """EVIDENCE only: tools in call order."""
    n_tool_errors: int = 0
    n_repeated_failures: int = 0

    @property
    def delta_id(self) -> str:
        """Hash of the row: equal operations of one trajectory are one operation."""
        return content_hash(self.model_dump(mode="json"))

    @property
    def key_text(self) -> str:
        """What is embedded: the lesson's key as its memory item has it, or the task."""
        return self.content if self.op == "EVIDENCE" else _key_text(self.scope, self.title, self.description)


class Support(Record):
    """One trajectory that speaks for a memory item."""

    task_id: str
    trace_uid: str
    outcome: Outcome


class MemoryItem(Record):
    """A curated lesson."""

    item_id: str
    """Hash of domain, kind, scope and title (at a place without the kind, which new evidence may turn): an item keeps
    its id while its evidence and text grow."""
    domain: str
    kind: str
    scope: str
    title: str
    description: str
    content: str
    supports: tuple[Support, ...]
    """Trajectories whose evidence the text rests on, in canonical order."""

    @property
    def place(self) -> str:
        """Name of the place that the item is about (`zormek` of `site:zormek`); empty for what holds anywhere."""
        return place_of(self.scope)

    @property
    def task_ids(self) -> frozenset[str]:
        """The distinct tasks behind the item."""
        return frozenset(support.task_id for support in self.supports)

    @property
    def key_text(self) -> str:
        """What is embedded and compared with a task; stable while the evidence grows."""
        return _key_text(self.scope, self.title, self.description)

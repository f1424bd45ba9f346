"""What the fast layer says: reflections, the deltas that they become, and the memory items that deltas amount to."""

from datetime import date
from typing import Literal

from pydantic import Field

from synde_pipeline.records.base import Record, UtcTime, content_hash
from synde_pipeline.records.trajectory import LabelSource, Outcome, place_of

Kind = Literal["strategy", "pitfall", "workflow", "note"]
Engine = Literal["rules", "llm"]
Verdict = Literal["helpful", "harmful", "neutral"]
Status = Literal["active", "candidate", "archived", "retired", "quarantined"]
"""active: shown to agents. candidate: too few tasks support it. archived: beyond the domain's token budget. retired:
harm outweighed help, or a person or a successor took its place. quarantined: reads like an attack, or its source is
not trusted."""


class Lesson(Record):
    """One thing a single trajectory teaches, already generalised; the literals that condition it are in `scope`."""

    kind: Kind
    scope: str
    """Where it applies: `tool:<name>`, the place its trajectory ran in (`site:zormek`), or empty for the domain."""
    title: str = Field(min_length=1)
    description: str
    """When to use it, and when not."""
    content: str = Field(min_length=1)
    suspect: str = ""
    """Why its text may be an attack (`reflection.injection`); empty for what reads like a lesson."""


class Tag(Record):
    """What a reflector says of one memory item that was shown (ACE's bullet tags); kept, never counted."""

    item_id: str
    verdict: Verdict


class Reflection(Record):
    """What one trajectory, alone, teaches (synde.txt appendix B.1, with ACE's error fields)."""

    trace_uid: str
    task_id: str
    domain: str
    outcome: Outcome
    label_source: LabelSource = "none"
    effective_day: date
    """Day from which on the run's lesson is known: the later of its own day and the day it ended."""
    task: str
    """The task as the agent saw it, redacted: later trajectories are compared with it."""
    scope: str = ""
    """Where the trajectory ran."""
    shown: tuple[str, ...] = ()
    """Memory items that were in the agent's context, as logged: `<item id>` or `<item id>@<version>`."""
    engine: Engine = "rules"
    strategy: str
    why: str
    principle: str
    confidence: float = Field(ge=0, le=1)
    error_step: int | None = None
    """Index of the step where the run went wrong; None when nothing points to one."""
    error_identification: str = ""
    root_cause: str = ""
    correct_approach: str = ""
    key_insight: str = ""
    tags: tuple[Tag, ...] = ()
    path: tuple[str, ...]
    """Tools in the order of their calls, without replies, repeats of a neighbour collapsed."""
    n_tool_errors: int = Field(ge=0)
    n_repeated_failures: int = Field(ge=0)
    features: tuple[str, ...] = ()
    """What the run did, for the fold to contrast (`reflection.evidence`): `<tool>: <phrase>`, sorted."""
    lessons: tuple[Lesson, ...] = ()


def _key_text(scope: str, title: str, description: str) -> str:
    place = place_of(scope)
    return f"{place} {title}" if place else f"{title}. {description}"


class Delta(Record):
    """One row of the memory's ledger: one operation, and which trajectory or person it comes from.

    ADD says a lesson. EVIDENCE is a run as the fold contrasts it. TAG says that an item was shown and how the run
    ended. UPDATE and SUPERSEDE change or end an item; a person's are undone by later ones.
    """

    day: date
    """The trajectory's day, or the day of the edit: the partition that this row belongs to."""
    effective_day: date
    """Nothing is known before this day: when the run, or its last label, was there."""
    op: Literal["ADD", "UPDATE", "TAG", "SUPERSEDE", "EVIDENCE"]
    domain: str
    task_id: str
    """Empty for an edit by a person."""
    trace_uid: str
    """`human:<hash>` for an edit."""
    outcome: Outcome
    source: Literal["rules", "llm", "human"] = "rules"
    """Who says it: a reflector's engine, or a person."""
    kind: str = ""
    scope: str = ""
    title: str = ""
    description: str = ""
    content: str = ""
    """The lesson, the new text of an UPDATE, or for EVIDENCE the task as the agent saw it."""
    suspect: str = ""
    """ADD only: why the lesson may be an attack."""
    target: str = ""
    """TAG, UPDATE, SUPERSEDE: `<item id>` or `<item id>@<version>`; a person's SUPERSEDE also takes
    `source:<name>`."""
    value: str = ""
    """TAG: helpful, harmful or neutral. UPDATE: text (what is empty stays), bare (text without a description), pin,
    unpin or restore. SUPERSEDE: retire, quarantine, or the id of the item that takes its place."""
    at: UtcTime | None = None
    """When a person made the edit: of one day's edits, the later one wins."""
    path: tuple[str, ...] = ()
    """EVIDENCE only: tools in call order."""
    shown: tuple[str, ...] = ()
    """EVIDENCE only: memory items that the run was shown."""
    n_tool_errors: int = 0
    n_repeated_failures: int = 0
    features: tuple[str, ...] = ()
    """EVIDENCE only: what the run did, `<tool>: <phrase>`."""

    @property
    def delta_id(self) -> str:
        """Hash of the row: equal operations of one trajectory are one operation."""
        return content_hash(self.model_dump(mode="json"))

    @property
    def key_text(self) -> str:
        """What is embedded: the lesson's key as its memory item has it, the task, or nothing."""
        if self.op == "EVIDENCE":
            return self.content
        return _key_text(self.scope, self.title, self.description) if self.title else ""


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
    status: Status = "active"
    reason: str = ""
    """Why it is not active, in words."""
    helpful: int = Field(default=0, ge=0)
    """Tasks that succeeded with the item shown, its merged members' included."""
    harmful: int = Field(default=0, ge=0)
    """Tasks that failed with the item shown."""
    neutral: int = Field(default=0, ge=0)
    """Tasks in which it was shown and that say nothing of it: no outcome, or its tool was never called."""
    pinned: bool = False
    """A person keeps it active whatever the counters and the budget say."""
    merged: tuple[str, ...] = ()
    """Ids of the items that say the same and were merged into this one."""
    successor: str = ""
    """Id of the item that took its place."""
    unsaid: tuple[str, ...] = ()
    """Descriptions and advice of its subject that better supported ones displaced, best supported first."""

    @property
    def place(self) -> str:
        """Name of the place that the item is about (`zormek` of `site:zormek`); empty for what holds anywhere."""
        return place_of(self.scope)

    @property
    def tool(self) -> str:
        """The tool that it says how to call, without which it says nothing of a run; empty where there is none.

        A pitfall of a domain may be heeded by not calling its tool: it has none.
        """
        if self.place:
            return self.title
        return self.scope.removeprefix("tool:") if self.kind != "pitfall" and self.scope.startswith("tool:") else ""

    @property
    def version(self) -> str:
        """Hash (8 hex digits) of the text that an agent reads."""
        return content_hash([self.title, self.description, self.content])[:8]

    @property
    def task_ids(self) -> frozenset[str]:
        """The distinct tasks behind the item; a person's word is none."""
        return frozenset(support.task_id for support in self.supports if support.task_id)

    @property
    def key_text(self) -> str:
        """What is embedded and compared with a task; stable while the evidence grows."""
        return _key_text(self.scope, self.title, self.description)

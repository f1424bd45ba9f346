"""Requests joined into traces: by the name that a client gives, else by what was said before.

A trace holds chains. A request that goes on where a chain's last answer ended belongs to it; any other one of the same
trace (a second agent, a context that was cut) begins a chain of its own. Only what this server answered becomes a step,
each answer once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from synde_pipeline.records import Step
from synde_pipeline.serving.chats import Raw, fingerprints, read_chat


@dataclass(eq=False)
class Chain:
    """Messages that follow one another, answers among them."""

    messages: list[Raw] = field(default_factory=list)
    answered: dict[int, datetime] = field(default_factory=dict)
    """Index of an answer among the messages -> when it was given."""
    head: str = ""
    """Fingerprint of all messages."""


@dataclass(eq=False)
class Trace:
    """One execution under way."""

    uid: str
    about: Mapping[str, Any]
    """owner, source, domain, scope, task_id and opened_at, as they stand in the journal."""
    last_at: datetime
    chains: list[Chain] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    """Ids of the memory items that were shown, each once."""
    models: list[str] = field(default_factory=list)
    """That answered, each once."""
    n_answers: int = 0
    n_running: int = 0
    """Requests that are being answered."""

    def add(self, number: int, messages: Sequence[Raw], answer: Raw, at: datetime) -> Chain:
        """Take an answer in.

        Args:
            number: of its chain; a new one where there is none of that number.
            messages: that the chain does not hold yet, the answer left out.
            answer: the assistant's message.
            at: when it was given.
        """
        while len(self.chains) <= number:
            self.chains.append(Chain())
        chain, new = self.chains[number], [*messages, answer]
        chain.messages = [*chain.messages, *new]
        chain.answered[len(chain.messages) - 1] = at
        chain.head = fingerprints(self.about["owner"], new, chain.head)[-1]
        self.last_at = max(self.last_at, at)
        return chain

    def show(self, items: Iterable[str], model: str) -> None:
        """Note what an answer was given with."""
        self.shown = list(dict.fromkeys([*self.shown, *items]))
        self.models = [*(name for name in self.models if name != model), model]

    @property
    def task(self) -> str:
        """What the agent was asked first."""
        return read_chat(self.chains[0].messages).task

    def steps(self) -> tuple[Step, ...]:
        """What this server answered, chain by chain, numbered through."""
        found: list[Step] = []
        for chain in self.chains:
            chat = read_chat(chain.messages, chain.answered)
            found += [chat.steps[k] for k in chat.own]
        return tuple(step.model_copy(update={"index": k}) for k, step in enumerate(found))


@dataclass(frozen=True)
class Found:
    """Where a request belongs."""

    trace: Trace | None
    """None: it begins one."""
    chain: int = 0
    """Number of its chain in the trace, a new one where there is none of that number."""
    n_known: int = 0
    """Messages of the request that the chain holds already."""


@dataclass
class OpenTraces:
    """The traces that are not over."""

    by_uid: dict[str, Trace] = field(default_factory=dict)
    _heads: dict[str, list[tuple[Trace, int]]] = field(default_factory=lambda: defaultdict(list))

    def find(self, owner: str, messages: Sequence[Raw], uid: str | None) -> Found:
        """Look for what a request continues.

        Args:
            owner: whose traces are looked at.
            messages: of the request.
            uid: of the trace that the client names, if it names one.
        """
        named = self.by_uid.get(uid) if uid else None
        if uid and named is None:
            return Found(None)
        prints = fingerprints(owner, messages)
        for n in range(len(messages), 0, -1):
            if messages[n - 1].get("role") != "assistant":
                continue
            for trace, number in self._heads.get(prints[n], ()):
                if named in (None, trace):
                    return Found(trace, number, n)
        return Found(named, len(named.chains) if named else 0)

    def open(self, trace: Trace) -> Trace:
        """Hold a new trace; one of this name that is open already stays, and is returned."""
        return self.by_uid.setdefault(trace.uid, trace)

    def recover(self, trace: Trace) -> None:
        """Hold a trace with its chains."""
        self.by_uid[trace.uid] = trace
        for number, chain in enumerate(trace.chains):
            self._heads[chain.head].append((trace, number))

    def answered(self, trace: Trace, found: Found, messages: Sequence[Raw], answer: Raw, at: datetime) -> Found:
        """Take an answer in; says where it went: into a chain of its own where another request was faster."""
        chain, n_known = found.chain, found.n_known
        is_there = chain < len(trace.chains)
        if n_known and not (is_there and len(trace.chains[chain].messages) == n_known):
            chain, n_known = len(trace.chains), 0
        elif not n_known and is_there:
            chain = len(trace.chains)
        if is_there and n_known:
            self._forget(trace, chain)
        held = trace.add(chain, messages[n_known:], answer, at)
        self._heads[held.head].append((trace, chain))
        return Found(trace, chain, n_known)

    def close(self, trace: Trace) -> None:
        """Forget a trace."""
        self.by_uid.pop(trace.uid, None)
        for number in range(len(trace.chains)):
            self._forget(trace, number)

    def _forget(self, trace: Trace, number: int) -> None:
        """Nothing goes on behind a chain's head any more."""
        head = trace.chains[number].head
        left = [one for one in self._heads.get(head, ()) if one != (trace, number)]
        if left:
            self._heads[head] = left
        else:
            self._heads.pop(head, None)

    def idle(self, since: datetime) -> Iterable[Trace]:
        """Traces that nobody has asked anything in since a time, and that nobody waits for."""
        return [trace for trace in self.by_uid.values() if trace.last_at < since and not trace.n_running]

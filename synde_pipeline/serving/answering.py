"""One request, from its words to its answer: find its trace, ask memory, decide, write, keep, and only then let go."""

import asyncio
import json
import logging
import re
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from synde_pipeline.errors import InputError
from synde_pipeline.memory.retrieve import Query
from synde_pipeline.models.decide import Decider, Decision, Evidence
from synde_pipeline.models.route import Asked as Task
from synde_pipeline.models.route import Route
from synde_pipeline.records import content_hash
from synde_pipeline.serving.api import ApiError, ChatRequest, usage
from synde_pipeline.serving.chats import Chat, Raw, read_chat
from synde_pipeline.serving.choice import Chooser, Picked
from synde_pipeline.serving.journal import Answer
from synde_pipeline.serving.keys import Caller
from synde_pipeline.serving.service import Service
from synde_pipeline.serving.traces import Found, Trace
from synde_pipeline.serving.writing import Asked, Piece, Written
from synde_pipeline.training.bank import NONE

_LOG = logging.getLogger("synde.serving")
_TRACE = re.compile(r"[\w.:-]{1,120}", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,40}")
_SCOPE = re.compile(r"[a-z_]+:\S{1,120}")
_TASK = re.compile(r"[^:\s]{1,80}:[^:\s]{1,41}:\S{1,120}")


@dataclass(frozen=True)
class Words:
    """What the headers of a request say."""

    trace: str | None
    domain: str
    scope: str
    task_id: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str], default: str) -> "Words":
        """Read them.

        Raises:
            ApiError: one is not of its form.
        """
        domain = _checked(headers, "x-synde-domain", _DOMAIN) or default
        task_id = _checked(headers, "x-synde-task", _TASK)
        if task_id and task_id.split(":")[1] != domain:
            raise ApiError(400, f"x-synde-task names another domain than {domain}", param="x-synde-task")
        scope = _checked(headers, "x-synde-scope", _SCOPE) or ""
        return cls(_checked(headers, "x-synde-trace", _TRACE), domain, scope, task_id)


def _checked(headers: Mapping[str, str], name: str, form: re.Pattern[str]) -> str | None:
    value = headers.get(name)
    if value and not form.fullmatch(value):
        raise ApiError(400, f"the header {name} is {value!r:.60}; expected {form.pattern}", param=name)
    return value or None


@dataclass
class Work:
    """An answer under way."""

    service: Service
    caller: Caller
    asked: Asked
    found: Found
    trace: Trace
    decision: Decision
    loaded: Chooser | None
    model: str
    """Of the request."""
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    started: float = field(default_factory=time.monotonic)

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told beside the answer."""
        name = self.asked.picked.name if self.asked.picked else ""
        told = {
            "x-synde-trace": self.trace.uid.partition(":")[2],
            "x-synde-layers": self.decision.layers,
            "x-synde-reason": self.decision.reason,
            "x-synde-adapter": name,
            "x-synde-memory": ",".join(item.item_id for item in self.asked.memory),
            "x-synde-champion": self.service.champion.hash[:16],
        }
        return {key: value.encode("latin-1", "replace").decode("latin-1") for key, value in told.items() if value}

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer as it grows; the last piece comes when it is kept."""
        async with aclosing(self.service.backend.write(self.asked)) as pieces:  # pyright: ignore[reportArgumentType]
            async for piece in pieces:
                if isinstance(piece, Written):
                    await self.keep(piece)
                yield piece

    def end(self) -> None:
        """Let go of what the answer needed; whoever called `begin` has to."""
        self.trace.n_running -= 1
        if self.loaded is not None:
            self.loaded.release()
            self.loaded = None

    async def keep(self, written: Written) -> None:
        """Note the answer, durably, as a part of its trace."""
        service = self.service
        used = usage(written.prompt_tokens, written.completion_tokens)
        tokens = {"prompt": used["prompt_tokens"], "completion": used["completion_tokens"]}
        tokens["context"] = written.context_tokens
        seconds = time.monotonic() - self.started
        service.metrics.answered(self.decision.layers, tokens, seconds)
        told = {"id": self.id, "trace": self.trace.uid, **self.headers, **tokens, "seconds": round(seconds, 3)}
        _LOG.info("%s", json.dumps(told))
        if not service.settings.serving.log:
            return
        at = service.clock()
        if self.trace.uid not in service.traces.by_uid:  # closed meanwhile: what comes now is another execution
            uid = await service.new_uid(self.caller, self.trace.uid.partition(":")[2])
            about = {**self.trace.about, "opened_at": at.isoformat()}
            again = service.traces.open(Trace(uid, about, at))
            again.n_running += 1
            self.trace.n_running -= 1
            self.trace, self.found = again, Found(again)
        went = service.traces.answered(self.trace, self.found, self.asked.messages, written.message, at)
        shown = [f"{item.item_id}@{item.version}" for item in self.asked.memory]
        self.trace.show(shown, self.model_name)
        seq = self.trace.n_answers
        self.trace.n_answers += 1
        body = {
            "chain": went.chain,
            "messages": [dict(message) for message in self.asked.messages[went.n_known :]],
            "answer": written.message,
            "at": at.isoformat(),
            "shown": shown,
            "model": self.model_name,
            "decision": {"layers": self.decision.layers, "reason": self.decision.reason},
        }
        answer = Answer(self.id, self.trace.uid, seq, body)
        try:
            await asyncio.wrap_future(service.journal.answered(answer, self.trace.about, at))
        except sqlite3.Error as error:
            # The journal lacks what memory has: what comes next is another execution, and this one lands as it is kept.
            service.traces.close(self.trace)
            said = f"the answer could not be kept ({error}); make room on the disk, or serve with --no-log"
            raise ApiError(503, said) from error

    @property
    def model_name(self) -> str:
        """What answered, for the log: model and adapter."""
        picked = self.asked.picked
        return f"{self.model} {picked.name}".rstrip() if picked else self.model


async def begin(
    service: Service, caller: Caller, request: ChatRequest, headers: Mapping[str, str], *, is_text: bool = False
) -> Work:
    """Everything before the first token; `is_text` goes on with the first message's text.

    Raises:
        ApiError: the request cannot be answered.
    """
    service.backend.check(request)
    words = Words.of(headers, caller.domain or service.settings.serving.domain)
    uid = f"{caller.source}:{words.trace}" if words.trace else None
    found = service.traces.find(caller.name, request.messages, uid)
    messages = _with_own(found, request.messages)
    try:
        chat = await asyncio.to_thread(read_chat, messages)
    except InputError as error:
        raise ApiError(400, str(error), param="messages") from error
    version = await asyncio.to_thread(service.version_for, request.model) if service.weights else None
    loaded = await asyncio.to_thread(service.weights.acquire, version) if service.weights and version else None
    try:
        task_id = _task_id(words, found, chat)
        query = Query(chat.task, words.domain, service.today, without_task=task_id, scope=words.scope)
        picked, evidence, decision = await asyncio.to_thread(_decided, service, query, loaded)
        trace = found.trace
        if trace is None:
            opened = service.clock()
            about = {"owner": caller.name, "source": caller.source, "domain": words.domain, "scope": words.scope}
            about |= {"task_id": task_id, "opened_at": opened.isoformat()}
            new = Trace(await service.new_uid(caller, words.trace), about, opened)
            trace = service.traces.open(new) if service.settings.serving.log else new
    except BaseException:
        if loaded is not None:
            loaded.release()
        raise
    trace.n_running += 1
    memory = tuple(evidence.memory.items) if decision.layers in ("context", "dual") else ()
    uses = picked if decision.layers in ("weights", "dual") else None
    asked = Asked(request, messages, chat, words.domain, () if is_text else memory, uses, is_text)
    return Work(service, caller, asked, found, trace, decision, loaded, request.model)


def _with_own(found: Found, messages: Sequence[Raw]) -> Sequence[Raw]:
    """The conversation as it was: earlier answers with what the client need not send back (reasoning)."""
    if found.trace is None or not found.n_known:
        return messages
    return [*found.trace.chains[found.chain].messages[: found.n_known], *messages[found.n_known :]]


def _task_id(words: Words, found: Found, chat: Chat) -> str:
    if words.task_id:
        return words.task_id
    if found.trace is not None:
        return found.trace.about["task_id"]
    return f"agent:{words.domain}:{content_hash(chat.task)[:16]}"


def _decided(service: Service, query: Query, loaded: Chooser | None) -> tuple[Picked | None, Evidence, Decision]:
    memory = service.memory.current()
    answer = memory.answers([query])[0]
    picked = loaded.pick(Task(query.domain, query.scope, query.task)) if loaded else None
    route = picked.route if picked else Route(NONE, "unknown")
    policy = service.settings.serving.layers
    decider = loaded.decider if loaded else Decider({}, {})
    cycle = picked.name.partition("/")[0] if picked else ""
    evidence = decider.evidence(query, (route, cycle), memory, answer)
    return picked, evidence, decider.decide(query.domain, evidence, policy)

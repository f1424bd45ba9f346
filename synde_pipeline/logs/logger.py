"""The SDK by which any agent writes its executions into landing: `ExecutionLogger` (synde.txt section 8.1).

    with ExecutionLogger("find a flight to Berlin", domain="travel") as log:
        log.log_step(page, ("search", {"to": "BER"}), "the page has a search box", "3 flights")
        log.set_outcome("success")

It needs nothing but pydantic. How landing is read, and secrets are taken out, is in `landing`.
"""

import fcntl
import inspect
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from pydantic import ValidationError

from synde_pipeline.errors import InputError
from synde_pipeline.logs.importers.chat import arguments_of
from synde_pipeline.records import REPLY, LabelSource, Outcome, Step, Trajectory, canonical_json, content_hash
from synde_pipeline.settings import load

Action = str | tuple[str, Any] | Mapping[str, Any]
"""Tool and arguments: as a pair, as `{"tool": ..., "arguments": ...}`, or as one text, parted at its first space."""

P = ParamSpec("P")
R = TypeVar("R")


class LandingWriter:
    """Appends many trajectories to landing by one write and one fsync a day (group commit).

    A trajectory is durable when the writer closes; a kill before that loses what was added. Threads may share a
    writer, processes a file.

    Args:
        folder: landing. What is created is private (folders 0700, files 0600); what exists keeps its mode.
        file_name: lines go to `day=<UTC start date>/<file_name>.jsonl`. InputError where that is no name.
    """

    def __init__(self, folder: str | os.PathLike[str], *, file_name: str = "agent") -> None:
        if not re.fullmatch(r"\w[\w.-]*", file_name, re.ASCII):
            raise InputError(f"landing file name {file_name!r:.80}", expected="letters, digits, `_`, `-` and `.`")
        self._folder, self._file = Path(folder).absolute(), f"{file_name}.jsonl"
        self._lines: dict[date, bytearray] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def add(self, trajectory: Trajectory) -> None:
        """Take a trajectory along; InputError once closed."""
        line = trajectory.model_dump_json().encode("utf-8") + b"\n"
        with self._lock:
            if self._is_closed:
                raise InputError("the landing writer is closed", remedy="open another one")
            self._lines.setdefault(trajectory.day, bytearray()).extend(line)

    def close(self) -> None:
        """Make what was added durable. After an OSError, closing again writes the days that are left."""
        with self._lock:
            for day in sorted(self._lines):
                _append(self._folder / f"day={day}" / self._file, self._lines[day])
                del self._lines[day]
            self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ExecutionLogger:
    """Records one execution of one task; finalising writes it to landing, whole and once.

    As a context manager it finalises itself. An exception that leaves the block means failure unless an outcome was
    set (an interrupt means unknown), its type goes into the last step's result, and it propagates. Threads may share
    a logger. A killed process loses the trajectory that it was in, and what an open `LandingWriter` holds, no other.

    Args (InputError where one fits no `records.Trajectory`):
        task: the task as the agent sees it; never a hidden instruction or a verifier's data.
        domain: task family (`[a-z0-9_]`): one memory and one series of adapters each.
        task_id: `<family>:<domain>:<id>`, equal in all trials of a task; a hash of the task's text by default.
        scope: where it runs, as `<kind>:<name>`.
        source: name of the agent or system that logs.
        model: name of the model that acts.
        shown_memory: ids of the memory items in the agent's context.
        landing: its folder, by default that of the warehouse in `SYNDE_HOME`; or a writer that loggers share.
        clock: gives the times of start, steps and end; naive ones are local.
        id_factory: gives the execution's id, unique within its source; random by default.
    """

    def __init__(  # noqa: PLR0913 - all but the task have defaults
        self,
        task: str,
        *,
        domain: str = "default",
        task_id: str | None = None,
        scope: str = "",
        source: str = "agent",
        model: str = "",
        shown_memory: Iterable[str] = (),
        landing: str | os.PathLike[str] | LandingWriter | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        id_factory: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._now = lambda: clock().astimezone(UTC)
        # `logs.landing` names this folder too, but needs pyarrow.
        place = load().warehouse / "landing" if landing is None else landing
        self._landing = place if isinstance(place, LandingWriter) else Path(place).absolute()
        self._lock = threading.RLock()
        self._is_labelled = self._is_final = False
        self.steps: list[Step] = []
        """Steps so far."""
        start, task = self._now(), _text(task)
        about = {"task": task, "domain": domain, "source": source, "model": model, "scope": scope}
        so_far = {"steps": (), "outcome": "unknown", "label_source": "none"}
        self.record = _checked(
            Trajectory,
            **about,
            **so_far,
            trace_uid=f"{source}:{id_factory()}",
            task_id=f"agent:{domain}:{content_hash(task)[:16]}" if task_id is None else task_id,
            shown_memory=tuple(shown_memory),
            day=start.date(),
            started_at=start,
        )
        """The trajectory so far; it gets its steps when it is finalised."""

    # -- what subclasses may override ---------------------------------------------------------------------------

    def serialize_state(self, state: Any) -> str:
        """State as text: a text as it is, None as empty, anything else as canonical JSON."""
        return _text(state)

    def verify_result(self, result: Any) -> bool | None:
        """Whether a step worked; asked when `log_step` is not told. None does not say."""
        return None

    def evaluate_outcome(self) -> Outcome:
        """How it ended, by `self.steps`; asked at the end when no outcome was set."""
        return "unknown"

    def calculate_reward(self) -> float | None:
        """Reward, by `self.record.outcome` and `self.steps`; asked at the end when none was set."""
        return {"success": 1.0, "failure": 0.0}.get(self.record.outcome)

    def log_step(
        self, state: Any, action: Action, reasoning: str = "", result: Any = "", *, success: bool | None = None
    ) -> Step:
        """Add what the agent saw since its last action, the action, why, and what came back: texts, or values for JSON.

        InputError when the action names no tool, and, as in all methods that add something, once finalised.
        """
        return self._add(self.serialize_state(state), _action_of(action), reasoning, result, success)

    def _add(self, state: str, action: tuple[str, str], reasoning: str, result: Any, success: bool | None) -> Step:
        values = {"state": state, "tool": action[0], "arguments": action[1], "reasoning": reasoning, "result": result}
        texts = {name: _text(value) for name, value in values.items()}
        success = self.verify_result(result) if success is None else success
        with self._lock:
            self._check_open()
            step = _checked(Step, index=len(self.steps), timestamp=self._now(), success=success, **texts)
            self.steps.append(step)
        return step

    def step(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function so that every call of it is a step.

        Parameters named `state`, `reasoning` and `action` are the step's. Without an `action`, the function's name
        with its other arguments is; without a `state`, the result of the step before. What it returns is the result;
        an exception is the result of a failed step, and propagates. InputError for coroutines.
        """
        if inspect.iscoroutinefunction(function):
            raise InputError("a step that is a coroutine", remedy="await it, then call log_step")
        signature, name = inspect.signature(function), getattr(function, "__name__", type(function).__name__)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given: dict[str, Any] = {**signature.bind_partial(*args).arguments, **kwargs}
            last = self.steps[-1].result if self.steps else ""
            state = self.serialize_state(given.pop("state")) if "state" in given else last
            reasoning = given.pop("reasoning", "")
            # All texts are made before the call, which may change what it was given.
            before = (state, _action_of(given.pop("action", (name, given))), reasoning)
            try:
                result = function(*args, **kwargs)
            except Exception as error:
                self._add(*before, f"{type(error).__name__}: {error}", False)
                raise
            self._add(*before, result, None)
            return result

        return call

    def set_outcome(self, outcome: Outcome, reward: float | None = None, *, by: LabelSource = "verifier") -> None:
        """Say how it ended and who judged; the last word counts. InputError for values that fit no record."""
        self._amend(outcome=outcome, reward=reward, label_source="none" if outcome == "unknown" else by)
        self._is_labelled = True

    def show_memory(self, item_ids: Iterable[str]) -> None:
        """Record ids of memory items that the agent was shown, each once."""
        with self._lock:
            self._amend(shown_memory=tuple(dict.fromkeys([*self.record.shown_memory, *item_ids])))

    def finalize_trajectory(self) -> dict[str, Any]:
        """Write the trajectory unless it was; returns the paper's `task`, `steps`, `outcome` and `total_reward`.

        OSError when landing cannot be written; finalising again tries again.
        """
        with self._lock:
            if not self._is_final:
                if not self._is_labelled:
                    self.set_outcome(self.evaluate_outcome())
                reward = self.calculate_reward() if self.record.reward is None else self.record.reward
                self._amend(steps=tuple(self.steps), ended_at=self._now(), reward=reward)
                if isinstance(self._landing, LandingWriter):
                    self._landing.add(self.record)
                else:
                    with LandingWriter(self._landing) as writer:
                        writer.add(self.record)
                self._is_final = True
            done = self.record
        return {"task": done.task, "steps": done.steps, "outcome": done.outcome, "total_reward": done.reward}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            if kind and not self._is_final:
                if not self._is_labelled:
                    self.set_outcome("failure" if issubclass(kind, Exception) else "unknown")
                if self.steps and kind.__name__ not in self.steps[-1].result:  # a decorated step names it already
                    result = f"{self.steps[-1].result}\n{kind.__name__}".lstrip("\n")
                    self.steps[-1] = self.steps[-1].model_copy(update={"result": result})
            self.finalize_trajectory()

    def _check_open(self) -> None:
        if self._is_final:
            raise InputError(f"{self.record.trace_uid} is finalised", remedy="start another ExecutionLogger")

    def _amend(self, **values: Any) -> None:
        with self._lock:
            self._check_open()
            self.record = _checked(Trajectory, **(dict(self.record) | values))


def _checked(record: Callable[..., R], **values: Any) -> R:
    try:
        return record(**values)
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))} is {first['input']!r:.80}: " if first["loc"] else ""
        raise InputError(found + first["msg"], remedy=f"see records.{error.title}") from error


def _text(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else canonical_json(value)
    return text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate would cost the whole trajectory


def _action_of(action: Action) -> tuple[str, str]:
    """Tool and arguments as texts; arguments given as JSON text become canonical, messages stay as they are."""
    match action:
        case str():
            tool, _, arguments = action.partition(" ")
        case {"tool": str(tool), **rest} if not rest.keys() - {"arguments"}:
            arguments = rest.get("arguments")
        case (str(tool), arguments):
            pass
        case _:
            raise InputError(f"action {action!r:.80}", expected="(tool, arguments), tool, or {tool, arguments}")
    is_json = tool != REPLY and isinstance(arguments, str) and arguments.startswith("{")
    return tool, _text(arguments_of(arguments) if is_json else arguments)


def _append(path: Path, lines: bytes | bytearray) -> None:
    """Add lines by one write under the file's lock, on a new line where a killed writer left half of one."""
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # dropped by closing
        before = os.fstat(file)
        if before.st_nlink == 0:  # removed or replaced while we waited for the lock
            return _append(path, lines)
        is_torn = before.st_size and os.pread(file, 1, before.st_size - 1) != b"\n"
        data = b"\n" + lines if is_torn else lines
        if os.write(file, data) < len(data):
            raise OSError(f"only a part of the lines fitted into {path}")
        os.fsync(file)
    finally:
        os.close(file)

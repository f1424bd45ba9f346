"""The two programs of one trial, each in a jail of its own: `answer` holds the generated code, `judge` the test.

`judge` runs the benchmark's test against a stand-in whose calls go through a pipe to `answer`. So the generated code
never shares a process with the test: it cannot read the expected values, patch `assert`, leave early with status 0 or
print a pass; all that it can do is answer calls, in plain values. The standard library alone: nothing of ours is seen
inside. Objects of other types than the plain ones (and their subclasses, as plain ones) count as a wrong answer.

Frames: four bytes of length, then JSON. Lists stand for themselves, other containers are {"kind": [items]}.
"""

import builtins
import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

_MOST_BYTES = 4_000_000
"""Of one frame."""
CONTAINERS = {"tuple": tuple, "set": set, "frozenset": frozenset, "bytes": bytes, "complex": complex}


class EndedError(Exception):
    """The other side is gone, or sent what is no frame."""


def plain(value: Any) -> Any:
    """What JSON can hold of a value; TypeError for what is not plain data."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[plain(key), plain(item)] for key, item in value.items()]}
    for name, kind in CONTAINERS.items():
        if isinstance(value, kind):
            items = [value.real, value.imag] if isinstance(value, complex) else value
            return {name: [plain(item) for item in items]}
    raise TypeError(f"{type(value).__name__} is no plain value")


def unplain(value: Any) -> Any:
    """The value again; ValueError for what `plain` never makes."""
    if isinstance(value, list):
        return [unplain(item) for item in value]
    if not isinstance(value, dict):
        return value
    [(name, items)] = value.items()
    if name == "dict":
        return {unplain(key): unplain(item) for key, item in items}
    found = [unplain(item) for item in items]
    return complex(*found) if name == "complex" else CONTAINERS[name](found)


def send(out: BinaryIO, value: Any) -> None:
    """Write a frame."""
    data = json.dumps(value).encode("ascii")
    out.write(len(data).to_bytes(4, "big") + data)
    out.flush()


def receive(source: BinaryIO) -> Any:
    """Read a frame; EndedError where there is none."""
    head = source.read(4)
    size = int.from_bytes(head, "big")
    data = source.read(size) if len(head) == 4 and size <= _MOST_BYTES else b""
    if not data or len(data) < size:
        raise EndedError
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EndedError from error


def answer(given: dict[str, Any], calls: BinaryIO, replies: BinaryIO) -> None:
    """Run generated code, then answer calls of its function."""
    space: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(given["code"], "solution", "exec"), space)  # noqa: S102 - what the jail is for
        function = space[given["entry_point"]]
    except BaseException as error:  # noqa: BLE001 - generated code raises what it likes
        send(replies, {"raised": type(error).__name__})
        return
    send(replies, {"ready": True})
    while True:
        try:
            arguments = receive(calls)
        except EndedError:
            return
        try:
            send(replies, {"value": plain(function(*unplain(arguments)))})
        except BaseException as error:  # noqa: BLE001
            send(replies, {"raised": type(error).__name__})


class RaisedError(Exception):
    """The generated code raised something that is no built-in exception."""


def judge(given: dict[str, Any], calls: BinaryIO, replies: BinaryIO) -> dict[str, Any]:
    """Run a test; returns whether it passed, and why not."""
    try:
        first = receive(replies)
    except EndedError:
        return _failed("it ended before it was ready")
    if first != {"ready": True}:
        return _failed(f"it raised {_name(first)}")
    space: dict[str, Any] = {"__name__": "test"}
    # The prompt's own helpers are part of some tests; its function has no body yet.
    exec(compile(given["prompt"], "prompt", "exec"), space)  # noqa: S102
    exec(compile(given["test"], "test", "exec"), space)  # noqa: S102
    function = _stand_in(calls, replies)
    space[given["entry_point"]] = function
    try:
        space["check"](function)
    except (EndedError, BrokenPipeError):
        return _failed("it ended, or said what is no answer")
    except AssertionError:
        return _failed("wrong answer")
    except Exception as error:  # noqa: BLE001 - what the code raised, or what a wrong type leads to
        return _failed(f"{type(error).__name__} during the test")
    return {"passed": True, "reason": "passed"}


def _stand_in(calls: BinaryIO, replies: BinaryIO) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        send(calls, [plain(item) for item in arguments])
        reply = receive(replies)
        try:
            if "value" in reply:
                return unplain(reply["value"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise EndedError from error
        raise _exception(_name(reply))

    return function


def _exception(name: str) -> Exception:
    kind = getattr(builtins, name, None)
    is_built_in = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, AssertionError)
    return Exception.__new__(kind) if is_built_in else RaisedError(name)  # type: ignore[arg-type]


def _name(reply: Any) -> str:
    """The exception's type that a reply names; what generated code calls it is no text for logs."""
    name = reply.get("raised") if isinstance(reply, dict) else None
    return name if isinstance(name, str) and name in vars(builtins) else "an error"


def _failed(reason: str) -> dict[str, Any]:
    return {"passed": False, "reason": reason}


def main(role: str) -> NoReturn:
    """Standard input: what is given, as JSON with the numbers of the two pipes. Judges write to standard output."""
    given = json.load(sys.stdin)
    source, out = os.fdopen(given["read"], "rb"), os.fdopen(given["write"], "wb")
    if role == "answer":
        answer(given, source, out)
        os._exit(0)
    verdict_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # tests may print
    verdict_to.write(json.dumps(judge(given, out, source)))
    verdict_to.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])

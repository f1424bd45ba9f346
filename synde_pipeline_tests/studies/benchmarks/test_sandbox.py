"""Generated code that cheats, floods, forks and hangs: it fails, and nothing outside notices."""

import contextlib
import io
import json
import socket
import tempfile
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.studies.benchmarks.sandbox import Limits, Sandbox
from synde_pipeline.studies.benchmarks.trial import EndedError, plain, receive, send, unplain

PROMPT = 'def double(n):\n    """Twice n."""\n'
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n"
RIGHT = "def double(n):\n    return n * 2\n"
SMALL = Limits(cpu_s=1, wall_s=60, memory_bytes=2**28)


@cache
def permits() -> bool:
    """Whether this machine permits namespaces at all."""
    try:
        Sandbox().check()
    except InputError:
        return False
    return True


@pytest.fixture(scope="module", autouse=True)
def walls():
    if not permits():
        pytest.skip("this machine permits no namespaces")


def tried(code: str, limits: Limits = SMALL):
    return Sandbox(limits).trial(code, PROMPT, TEST, "double")


def test_right_code_passes_and_every_wall_stands():
    assert tried(RIGHT) == (True, "passed")
    isolation = Sandbox().check()
    assert set(isolation.holds) == {"network", "reading files", "writing files", "processes", "signals"}
    assert all(isolation.holds.values())
    assert "network shut" in str(isolation)


HOSTILE = {
    "wrong": ("def double(n):\n    return n\n", "wrong answer"),
    "no function": ("x = 1\n", "it raised KeyError"),
    "no program": ("def double(n:\n", "it raised SyntaxError"),
    "leaves before the tests": ("import os\nos._exit(0)\n", "it ended before it was ready"),
    "leaves in a call": ("import os\ndef double(n):\n    os._exit(0)\n", "it ended, or said what is no answer"),
    "exits politely": ("import sys\nsys.exit(0)\n", "it raised SystemExit"),
    "exits in a call": ("import sys\ndef double(n):\n    sys.exit(0)\n", "RaisedError during the test"),
    "equal to everything": (
        "class Yes:\n    def __eq__(self, other):\n        return True\ndef double(n):\n    return Yes()\n",
        "TypeError during the test",
    ),
    "a list equal to everything": (
        "class Yes(list):\n    def __eq__(self, other):\n        return True\ndef double(n):\n    return Yes()\n",
        "wrong answer",
    ),
    "patches what tests use": (
        "import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.isinstance = lambda *a: True\n"
        "def double(n):\n    return 0\n",
        None,
    ),
    "fork bomb": ("import os\nwhile True:\n    os.fork()\n", "it raised BlockingIOError"),
    "thread bomb": (
        "import threading\nwhile True:\n    threading.Thread(target=print, daemon=True).start()\n",
        "it raised RuntimeError",
    ),
    "starts a program": ("import subprocess\nsubprocess.run(['/usr/bin/env'])\n", "it raised BlockingIOError"),
    "endless loop": ("while True:\n    pass\n", "out of time"),
    "memory at once": ("x = bytearray(2**40)\n", "it raised MemoryError"),
    "memory bit by bit": ("x = []\nwhile True:\n    x.append(bytearray(2**20))\n", "it raised MemoryError"),
    "fills the disk": (
        "for k in range(10**6):\n    open(f'{k}', 'wb').write(bytes(2**20))\n",
        "it raised OSError",
    ),
    "a large file": ("open('x', 'wb').write(bytes(2**21))\n", None),
    "a flood for an answer": ("def double(n):\n    return 'x' * 10**7\n", "it ended, or said what is no answer"),
    "a deep answer": (
        "def double(n):\n    x = []\n    for _ in range(10**5):\n        x = [x]\n    return x\n",
        "RecursionError during the test",
    ),
    "signals everybody": ("import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(0, signal.SIGKILL)\n", None),
    "gains no rights": ("import os\nos.setuid(0)\n", "it raised PermissionError"),
    "makes no namespace": (
        "import ctypes\nl = ctypes.CDLL(None)\ndef double(n):\n    return n * 2 if l.unshare(0x10000000) == 0 else 0\n",
        "wrong answer",
    ),
    "makes its walls writable": (
        "import ctypes\nl = ctypes.CDLL(None)\ndone = l.mount(b'none', b'/', None, 32 | 4096, None)\n"
        "def double(n):\n    return n * 2 if done == 0 else 0\n",
        "wrong answer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_fails(name):
    code, reason = HOSTILE[name]
    verdict = tried(code)
    assert not verdict.passed
    assert reason in (None, verdict.reason)


@pytest.mark.parametrize("ending", ["import os\nos._exit(0)\n", "def double(n):\n    return 0\n"])
def test_a_pass_that_the_code_writes_itself_counts_for_nothing(ending):
    said = json.dumps({"passed": True, "reason": "passed"})
    lines = f"import os\nprint({said!r})\nfor fd in range(64):\n    try:\n        os.write(fd, {said.encode()!r})"
    assert not tried(f"{lines}\n    except OSError:\n        pass\n{ending}").passed


def test_frames_that_the_code_writes_itself_are_only_answers():
    """It can send a reply before it is asked, but only one that a call could have given: it has to be right."""
    frames = io.BytesIO()
    for frame in ({"ready": True}, {"value": 4}, {"value": {"no": 1, "such": 2}}):
        send(frames, frame)
    lines = (
        "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, {!r})\n    except OSError:\n        pass\n"
    )
    assert not tried(lines.format(frames.getvalue()) + "os._exit(0)\n").passed


def test_printing_without_end_costs_nothing_and_changes_nothing():
    flood = "import sys\nfor _ in range(200):\n    sys.stdout.write('x' * 10**6)\n    sys.stderr.write('y' * 10**6)\n"
    assert tried(flood + RIGHT).passed


def test_the_network_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = server.getsockname()
        verdict = tried(f"import socket\nsocket.create_connection({address!r}, 2)\n{RIGHT}")
        assert (verdict.passed, verdict.reason) == (False, "it raised OSError")
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_file_system_is_not_there(tmp_path):
    tmp_path.chmod(0o777)
    secret = tmp_path / "secret"
    secret.write_text("4")
    planted = tmp_path / "planted"
    assert tried(f"x = open({str(secret)!r}).read()\n{RIGHT}").reason == "it raised FileNotFoundError"
    assert tried(f"open({str(planted)!r}, 'w').write('x')\n{RIGHT}").reason == "it raised FileNotFoundError"
    assert tried(f"import os\nos.mkdir('/new')\n{RIGHT}").reason == "it raised OSError"
    assert tried(f"import math, re, collections\nopen('own', 'w').write('x')\n{RIGHT}").passed
    assert not planted.exists()


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("SYNDE_LLM_KEY", "secret")
    code = "import os\ndef double(n):\n    return n * 2 if set(os.environ) <= {'LC_ALL', 'LC_CTYPE'} else 0\n"
    assert tried(code).passed


def test_nothing_is_left_running_or_lying_about(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setitem(vars(tempfile), "tempdir", str(tmp_path))
    for sleeps in ("import time\ntime.sleep(1000)\n", "import time\ndef double(n):\n    time.sleep(1000)\n"):
        assert tried(sleeps, Limits(cpu_s=1, wall_s=1)).reason == "out of time"
    assert list(tmp_path.iterdir()) == []


def test_weak_guard_bounds_resources_and_says_that_nothing_else_holds():
    try:
        isolation = Sandbox(SMALL, guard="limits").check()
    except InputError:
        pytest.skip("root gives up its id, and its Python lies where nobody else may read")
    assert isolation.guard == "limits"
    assert isolation.holds["processes"]
    assert not isolation.holds["network"]
    assert "network OPEN" in str(isolation)


# -- values --------------------------------------------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20)
    | st.complex_numbers(allow_nan=False)
)  # fmt: skip
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=12,
)


def types_of(value):
    if isinstance(value, list | tuple):
        return [type(value), *map(types_of, value)]
    if isinstance(value, dict):
        return [dict, *((types_of(key), types_of(item)) for key, item in value.items())]
    return type(value)


@given(values)
def test_plain_values_come_back_as_they_were(value):
    found = unplain(json.loads(json.dumps(plain(value))))
    assert found == value
    assert types_of(found) == types_of(value)


@given(st.binary(max_size=200))
def test_whatever_is_sent_is_a_frame_or_the_end(data):
    with contextlib.suppress(EndedError):
        receive(io.BytesIO(data))

"""What several tests build: small records, hypothesis strategies, a warehouse with a few days of logs."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from synde_pipeline.models.registry import champion
from synde_pipeline.records import REPLY, Step, Trajectory, canonical_json
from synde_pipeline.storage import Warehouse, write_atomically

DAY = date(2025, 1, 3)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the recorded logs are not at {SHARED}")


def step(index: int = 0, tool: str = REPLY, arguments: object = "hello", **values) -> Step:
    text = arguments if isinstance(arguments, str) else canonical_json(arguments)
    return Step(index=index, tool=tool, arguments=text, **values)


def trajectory(
    uid: str = "test:1", *, task: str = "t1", domain: str = "library", outcome: str = "success", **values
) -> Trajectory:
    defaults = {
        "trace_uid": uid,
        "task_id": f"test:{domain}:{task}",
        "domain": domain,
        "source": "test",
        "day": DAY,
        "task": f"please do {task}",
        "steps": (step(),),
        "outcome": outcome,
        "reward": {"success": 1.0, "failure": 0.0}.get(outcome),
        "label_source": "none" if outcome == "unknown" else "verifier",
    }
    return Trajectory(**(defaults | values))


def called(*calls: tuple[str, object, str, bool | None]) -> tuple[Step, ...]:
    """Steps from (tool, arguments, result, success), each seeing the result before it."""
    steps, state = [], ""
    for index, (tool, arguments, result, success) in enumerate(calls):
        steps.append(step(index, tool, arguments, state=state, result=result, success=success))
        state = result
    return tuple(steps)


def land(warehouse: Warehouse, trajectories: list[Trajectory], name: str = "test") -> None:
    """Put trajectories into landing as a foreign writer would: canonical JSON lines, one file a day."""
    by_day: dict[date, list[Trajectory]] = {}
    for item in trajectories:
        by_day.setdefault(item.day, []).append(item)
    for day, items in by_day.items():
        path = warehouse.path("landing", str(day)) / f"{name}.jsonl"
        write_atomically(path, "".join(item.model_dump_json() + "\n" for item in items))


def synde(*words: str, home: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-m", "synde_pipeline.cli", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "SYNDE_HOME": str(home), "SYNDE_EMBEDDER": "hashing", "HF_HUB_OFFLINE": "1", **env},
        cwd=Path(__file__).resolve().parents[1],
        timeout=900,
        check=False,
    )
    if check and result.returncode:
        raise AssertionError(
            f"synde {' '.join(words)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
        )
    return result


def synde_json(*words: str, home: Path, **env: str) -> dict:
    return json.loads(synde(*words, "--json", home=home, **env).stdout)


def gate(warehouse: Warehouse, domain: str = "library", *, passed: bool, reason: str = "measured") -> dict[str, Any]:
    """A gate's section of a report, of a comparison with the champion of now."""
    return {
        "passed": passed,
        "basis": "improvement" if passed else "nothing shown",
        "reason": reason,
        "champion": {"cycle": None, "hash": champion(warehouse).served_hash(domain)},
        "checks": [{"name": "coin", "status": "passed" if passed else "failed", "sentence": reason}],
    }


# Any text that UTF-8 can hold: lone surrogates cannot be stored anywhere, and have a test of their own.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
times = st.integers(1_704_067_200, 1_767_139_200).map(lambda second: datetime.fromtimestamp(second, UTC))


@st.composite
def trajectories(draw, days=None, uids=None, outcomes=("success", "failure", "partial", "unknown")) -> Trajectory:
    """Any valid trajectory."""
    n = draw(st.integers(0, 4))
    steps = tuple(
        Step(
            index=k,
            timestamp=draw(st.none() | times),
            state=draw(texts),
            reasoning=draw(texts),
            tool=draw(st.sampled_from([REPLY, "find", "read_page", "renew"])),
            arguments=draw(texts),
            result=draw(texts),
            success=draw(st.none() | st.booleans()),
            confidence=draw(st.none() | st.floats(0, 1)),
        )
        for k in range(n)
    )
    outcome = draw(st.sampled_from(outcomes))
    return trajectory(
        draw(st.integers(0, 10**6).map(lambda k: f"test:{k}") if uids is None else uids),
        task=f"t{draw(st.integers(0, 8))}",
        outcome=outcome,
        day=DAY if days is None else draw(days),
        steps=steps,
        ended_at=draw(st.none() | times),
        reward=draw(st.none() | st.floats(0, 1)),
    )

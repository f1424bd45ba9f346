"""Documents that went wrong, for every importer: `python -m synde_pipeline_tests.logs.fuzz --seconds 60`.

Hand-written samples and, where they are present, recorded logs are changed anywhere and read from a file. Nothing but
SynDE's own errors may come out, no input may take long, and what an importer calls a row is a run or in quarantine.
"""

import argparse
import gzip
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from synde_pipeline.errors import SyndeError
from synde_pipeline.logs.blocks import documents_of
from synde_pipeline.logs.choices import AS_LOGGED, Choices, ScoreRule
from synde_pipeline.logs.documents import LIMITS, Limits, Lines
from synde_pipeline.logs.importers.base import REFUSED
from synde_pipeline.logs.importers.registry import importers
from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline_tests.helpers import SHARED
from synde_pipeline_tests.logs import (
    span_logs,
    test_atif,
    test_chat_logs,
    test_inspect_ai,
    test_langfuse,
    test_langsmith,
    test_openhands,
    test_otel_scores,
    test_react,
    test_reflexion,
    test_swe_logs,
    test_who_and_when,
)
from synde_pipeline_tests.logs.junk import JUNK, places
from synde_pipeline_tests.sample_logs import tau2_fixture, tau_fixture

LONGEST_S = 20.0
"""What one input may take."""
MOST_BYTES = 300_000
"""Of a recorded log that is tried."""
CHOICES = (AS_LOGGED, Choices("metadata.team", "metadata.task", ScoreRule.of("score:quality>=0.5")))


@dataclass(frozen=True)
class Seed:
    """A file that an importer reads, before anything is done to it."""

    name: str
    content: Any
    """`Lines` of JSON, JSON, a text, the bytes of a file, or a zip's members by name."""
    is_zip: bool = False


@dataclass
class Total:
    """What became of an importer's inputs."""

    inputs: int = 0
    trajectories: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    faults: list[str] = field(default_factory=list)


def seeds() -> dict[str, list[Seed]]:
    """The hand-written samples by importer."""
    swe, chats, inspect, reflexion = test_swe_logs, test_chat_logs, test_inspect_ai, test_reflexion
    members = {"header.json": inspect.HEAD, "samples/1_epoch_2.json": inspect.SAMPLE, "summaries.json": []}
    spans = [encode(one()) for encode in span_logs.ENCODINGS.values() for one in span_logs.CONVENTIONS.values()]
    return {
        "synde": [Seed("a.jsonl", Lines([chats.OWN, chats.OTHER_OWN]))],
        "openai-chat": [Seed("a.jsonl", Lines([chats.CHAT, chats.LEGACY]))],
        "nvidia-flywheel": [Seed("a.jsonl", Lines(chats.RECORDS))],
        "atif": [Seed("trajectory.json", test_atif.RUN)],
        "langfuse": [Seed("a.json", test_langfuse.EXPORT), Seed("a.jsonl", Lines(test_langfuse.OBSERVATIONS))],
        "langsmith": [Seed("a.json", {"runs": test_langsmith.RUNS}), Seed("a.jsonl", Lines(test_langsmith.RUNS))],
        "tau-bench": [Seed("a.json", tau_fixture()[:3])],
        "tau2-bench": [Seed("a.json", tau2_fixture(2))],
        "mini-swe-agent": [Seed("a.traj.json", swe.MINI)],
        "swe-agent": [Seed("oak__garden-12.traj", swe.OLD), Seed("a.traj", swe.NEW)],
        "openhands": [Seed("output.jsonl", Lines([test_openhands.PAIRS, test_openhands.FLAT]))],
        "who-and-when": [Seed("1.json", test_who_and_when.RUN), Seed("2.json", test_who_and_when.BY_HAND)],
        "reflexion": [
            Seed("trials.txt", reflexion.LOG),
            Seed("a.jsonl", Lines([reflexion.PROGRAM, reflexion.HUMAN_EVAL])),
            Seed("env_results_trial_3.json", [reflexion.VERDICT]),
        ],
        "inspect-ai": [Seed("a.json", inspect.log(inspect.SAMPLE)), Seed("a.eval", members, is_zip=True)],
        "otel": [Seed("a.json", one) for one in spans],
        "adk-eval-set": [Seed("a.json", test_otel_scores.CASES)],
        "react-text": [Seed("a.txt", test_react.NUMBERED), Seed("b.txt", test_react.PLAIN)],
    }


def recorded(folder: Path) -> dict[str, list[Seed]]:
    """Short recorded logs by importer."""
    found: dict[str, list[Seed]] = {}
    for path in native_files(folder) if folder.is_dir() else ():
        if path.stat().st_size <= MOST_BYTES:
            document = next(documents_of(path))
            content = document.content if isinstance(document.content, list | dict | str) else path.read_bytes()
            for one in read_files([path], rule=spread_over()):
                found.setdefault(one.format or "", []).append(Seed(path.name.removesuffix(".gz"), content))
    found.pop("", None)
    return found


# -- what is done to them ----------------------------------------------------------------------------------------------


def changed(content: Any, random: Random) -> Any:
    """The document with nodes replaced by junk, taken out, said twice or put elsewhere."""
    content = deepcopy(content)
    for _ in range(random.randint(1, 4)):
        found = list(places(content))
        if not found:
            break
        holder, key = random.choice(found)
        way = random.choice(("junk", "gone", "twice", "moved"))
        other = deepcopy(random.choice(found))
        if way == "junk":
            holder[key] = deepcopy(random.choice(JUNK))
        elif way == "gone":
            del holder[key]
        elif way == "twice" and isinstance(holder, list):
            holder[key:key] = [deepcopy(holder[key])] * random.choice((1, 50))
        else:
            holder[key] = other[0][other[1]]
    return content


def damaged(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """The bytes flipped, cut, taken out of, added to or joined with others."""
    for _ in range(random.randint(1, 3)):
        at, to = sorted(random.randrange(len(data) + 1) for _ in range(2))
        way = random.choice(("flip", "cut", "gone", "put in", "twice", "joined", "packed"))
        if way == "flip" and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        elif way == "cut":
            data = data[at:] if random.random() < 0.3 else data[:at]
        elif way == "gone":
            data = data[:at] + data[to:]
        elif way == "put in":
            more = (random.randbytes(9), b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"[" * 2000, b'"', b"\n{}\n")
            data = data[:at] + random.choice(more) + data[at:]
        elif way == "twice":
            data = data[:to] + data[at:]
        elif way == "joined":
            data += random.choice((b"", b"\n")) + random.choice(others)
        else:
            data = gzip.compress(data, 1)
    return data


def written(seed: Seed, content: Any) -> bytes:
    """A seed's file with other content."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    if seed.is_zip and isinstance(content, dict):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, member in content.items():
                archive.writestr(str(name), json.dumps(member))
        return data.getvalue()
    if isinstance(content, Lines):
        return b"".join(json.dumps(row).encode() + b"\n" for row in content)
    return json.dumps(content).encode()


# -- what comes out ----------------------------------------------------------------------------------------------------


def tried(path: Path, random: Random, total: Total, word: str) -> None:
    """Read a file; what must not be is a fault."""
    limits = random.choice((LIMITS, LIMITS, Limits(block=random.randint(1, 5000), line=random.choice((300, 2**20)))))
    start = time.perf_counter()
    try:
        found = list(read_files([path], rule=spread_over(), choices=random.choice(CHOICES), limits=limits))
    except SyndeError:
        found = []
    except Exception as error:  # noqa: BLE001 - finding it is what this is for
        total.faults.append(f"{word}: {error!r}")
        return
    seconds = time.perf_counter() - start
    n_runs, n_bad = sum(len(one.trajectories) for one in found), sum(len(one.bad) for one in found)
    total.inputs, total.seconds, total.longest = total.inputs + 1, total.seconds + seconds, max(total.longest, seconds)
    total.trajectories, total.quarantined = total.trajectories + n_runs, total.quarantined + n_bad
    if seconds > LONGEST_S:
        total.faults.append(f"{word}: {seconds:.0f} s")
    said = any(one.skipped for one in found)
    if limits is LIMITS and not said and n_runs + n_bad < rows_in(path, found[0].format if found else None):
        total.faults.append(f"{word}: {n_runs} runs and {n_bad} bad rows of {rows_in(path, found[0].format)}")


def rows_in(path: Path, name: str | None) -> int:
    """Rows that an importer finds in a file, those of one run once, and those that are no JSON."""
    n, keys = 0, set[str]()
    for document in documents_of(path):
        n += len(document.bad)
        if name and document.content is not None:
            content = document.content
            if isinstance(content, dict) and not importers()[name].detects(content):
                content = Lines([content])
            try:
                for row in importers()[name].rows(content):
                    key = key_of(row, name)
                    n += key not in keys
                    keys |= {key} - {""}
            except REFUSED:
                n += 1
    return n


def key_of(row: Any, name: str) -> str:
    """What names the run of a row; empty where it is one by itself, or cannot be read."""
    try:
        return importers()[name].run_key(row)
    except REFUSED:
        return ""


def inputs(found: list[Seed], others: list[bytes], random: Random) -> Iterator[tuple[str, bytes]]:
    """File names and bytes without end: each seed as it is, then changed ones."""
    for seed in found:
        yield seed.name, written(seed, seed.content)
    while True:
        seed = random.choice(found)
        content = seed.content
        if not isinstance(content, str | bytes) and random.random() < 0.6:
            content = changed(content, random)
        data = written(seed, content)
        if isinstance(content, str | bytes) or random.random() < 0.5:
            data = damaged(data, random, others)
        yield seed.name, data


def fuzz(seconds: float, seed: int = 0, folder: Path = SHARED, most: int = 10**9) -> dict[str, Total]:
    """Try every importer for an equal share of the time, or with so many inputs at most."""
    found, more = seeds(), recorded(folder)
    assert found.keys() == importers().keys(), "an importer without a sample"
    others = [written(one, one.content) for each in found.values() for one in each]
    totals: dict[str, Total] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in found:
            random, total = Random(f"{seed}:{name}"), totals.setdefault(name, Total())
            end = time.perf_counter() + seconds / len(found)
            for number, (file, data) in enumerate(inputs(found[name] + more.get(name, []), others, random)):
                if number >= most or time.perf_counter() > end:
                    break
                path = Path(place) / file
                path.write_bytes(data)
                n_before = len(total.faults)
                tried(path, random, total, f"{name} seed {seed} input {number}")
                if len(total.faults) > n_before:
                    (Path(tempfile.gettempdir()) / f"fuzz-{name}-{seed}-{number}-{file}").write_bytes(data)
                path.unlink()
    return totals


def main() -> None:
    """Print what became of each importer's inputs."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--data", type=Path, default=SHARED, help="folder of recorded logs")
    words = options.parse_args()
    totals = fuzz(words.seconds, words.seed, words.data)
    lines = [
        f"{name:16} {one.inputs:7} inputs {one.trajectories:8} trajectories {one.quarantined:8} quarantined "
        f"{one.seconds:7.1f} s, longest {one.longest:.2f} s"
        for name, one in totals.items()
    ]
    faults = [word for one in totals.values() for word in one.faults]
    sys.stdout.write("\n".join([*lines, f"{len(faults)} faults", *faults]) + "\n")


if __name__ == "__main__":
    main()

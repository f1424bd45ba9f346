"""What a bench says: rows, paired ratios and verdicts, as one JSON object and as a table."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.studies.bench.contest import Entry, paired
from synde_pipeline.tables import text_table


@dataclass(frozen=True)
class Target:
    """A threshold that a bench must reach."""

    claim: str
    measured: float | None
    threshold: float
    kind: Literal["at least", "at most"]
    interval: tuple[float, float] | None = None

    def verdict(self) -> dict[str, Any]:
        """The verdict, computed: met, missed, or not measured."""
        if self.measured is None:
            word = "not measured"
        else:
            is_met = self.measured >= self.threshold if self.kind == "at least" else self.measured <= self.threshold
            word = "met" if is_met else "missed"
        return {
            "claim": self.claim,
            "measured": None if self.measured is None else round(self.measured, 3),
            "interval": None if self.interval is None else [round(value, 3) for value in self.interval],
            "threshold": f"{self.kind} {self.threshold:g}",
            "verdict": word,
        }


@dataclass(frozen=True)
class Result:
    """A finished bench."""

    bench: str
    size: str
    work: dict[str, Any]
    """What every contestant did, in numbers."""
    entries: Sequence[Entry]
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Contestant -> what this bench adds to its row."""
    targets: Sequence[Target] = ()

    def for_json(self) -> dict[str, Any]:
        """The object of `synde bench --json`."""
        by_name = {entry.contestant.name: entry for entry in self.entries}
        ratios: dict[str, dict[str, Any]] = {"ratios": {}, "ratio_ranges": {}, "wall_ratios": {}}
        for entry in self.entries:
            versus = entry.contestant.versus
            found = paired(entry, by_name[versus]) if versus in by_name and versus != entry.contestant.name else None
            if versus is None or found is None:
                continue
            key = f"{entry.contestant.name}_over_{versus}"
            ratios["ratios"][key] = round(found[0], 3)
            ratios["ratio_ranges"][key] = [round(found[1], 3), round(found[2], 3)]
            wall = paired(entry, by_name[versus], "wall_s")
            ratios["wall_ratios"][key] = wall and round(wall[0], 3)
        return {
            "bench": self.bench,
            "size": self.size,
            "work": self.work,
            "machine": machine(self.entries),
            "rows": [entry.row() | self.extra.get(entry.contestant.name, {}) for entry in self.entries],
            **ratios,
            "verdicts": [target.verdict() for target in self.targets],
        }


def machine(entries: Sequence[Entry]) -> dict[str, Any]:
    """The machine and the torch of each contestant."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": {entry.contestant.name: entry.torch for entry in entries if entry.torch},
        "threads": 1,
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def text(result: dict[str, Any]) -> str:
    """The bench's object as text: work and machine, a table of rows, the verdicts."""
    found = result["machine"]
    work = ", ".join(f"{name} {value}" for name, value in result["work"].items())
    lines = [
        f"bench {result['bench']} ({result['size']}): {work}",
        f"{found['cpu']}, {found['cores']} cores, 1 thread each, load {found['load_average']}",
        "",
    ]
    return "\n".join([*lines, *_table(result), "", *map(_verdict_line, result["verdicts"])]).rstrip()


_COLUMNS = ("name", "n", "cpu_s", "min", "max", "wall_s", "rss_mb", "above_floor_mb")


def _table(result: dict[str, Any]) -> list[str]:
    extra = list(dict.fromkeys(key for row in result["rows"] for key in row if key not in (*_COLUMNS, "unavailable")))
    over = {key.rpartition("_over_")[0]: value for key, value in result["ratios"].items()}
    names = [*_COLUMNS, "ratio", *extra]
    cells = [row | {"ratio": over.get(row["name"])} for row in result["rows"]]
    table = text_table([["" if row.get(name) is None else str(row[name]) for name in names] for row in cells], names)
    notes = [f"{row['name']}: unavailable, {row['unavailable']}" for row in result["rows"] if "unavailable" in row]
    return [table, *notes]


def _verdict_line(verdict: dict[str, Any]) -> str:
    interval = f" [{verdict['interval'][0]}, {verdict['interval'][1]}]" if verdict["interval"] else ""
    measured = "-" if verdict["measured"] is None else verdict["measured"]
    return f"{verdict['verdict']}: {verdict['claim']}: {measured}{interval}, wanted {verdict['threshold']}"

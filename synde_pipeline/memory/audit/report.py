"""The audit of a warehouse's memory as of a day: findings, checks with thresholds, and how the memory grew."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, NamedTuple

import pyarrow.parquet as pq

from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.memory.audit import evidence, texts
from synde_pipeline.memory.audit.subject import Finding, Limits, Run, Subject
from synde_pipeline.memory.banks import bank_as_of, counts_as_of
from synde_pipeline.memory.curate import Bank
from synde_pipeline.memory.edits import every_edit
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.standing import n_tokens
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse

_MOST_DAYS = 60
"""Days of the trend: of longer histories, every so many days are shown."""


class Threshold(NamedTuple):
    """How much of a fault is still fine."""

    find: Callable[[Subject], Iterable[Finding]]
    max_share: float
    """Of the active items, which may have it."""
    severity: Literal["error", "warn"] = "warn"


FAULTS: Mapping[str, Threshold] = {
    "exact_duplicates": Threshold(texts.exact_duplicates, 0),
    "near_duplicates": Threshold(texts.near_duplicates, 0.05),
    "contradictions": Threshold(texts.contradictions, 0),
    "secrets": Threshold(texts.secrets, 0, "error"),
    "suspects": Threshold(texts.suspects, 0, "error"),
    "recall_loops": Threshold(evidence.recall_loops, 0.02),
    "never_retrieved": Threshold(evidence.never_retrieved, 0.5),
    "more_harm": Threshold(evidence.more_harm, 0.05),
    "single_source": Threshold(evidence.single_source, 0.2),
    "stale": Threshold(evidence.stale, 0.5),
    "orphans": Threshold(evidence.orphans, 0.05),
    "over_budget": Threshold(evidence.over_budget, 0),
}
"""Name of a fault -> who finds it, and how much of it is fine."""


class Check(NamedTuple):
    """One fault against its threshold."""

    fault: str
    n: int
    share: float
    """Findings for each active item."""
    max_share: float
    severity: str
    passed: bool


class Grown(NamedTuple):
    """The memory at the end of a day."""

    day: date
    items: int
    tokens: int


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    bank: Bank
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    domains: dict[str, dict[str, int]]
    """Domain -> active items and their tokens."""
    trend: tuple[Grown, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Items of each status."""
        return dict(sorted(Counter(item.status for item in (*self.bank.items, *self.bank.others)).items()))

    def for_json(self) -> dict[str, Any]:
        """The audit as `synde audit --json` prints it."""
        return {
            "as_of": str(self.bank.as_of),
            "bank_hash": self.bank.bank_hash,
            "passed": all(check.passed for check in self.checks),
            "counts": self.counts,
            "domains": self.domains,
            "checks": [check._asdict() for check in self.checks],
            "findings": [finding._asdict() for finding in self.findings],
            "trend": [grown._asdict() | {"day": str(grown.day)} for grown in self.trend],
        }


def audit(warehouse: Warehouse, config: MemoryConfig, as_of: date, limits: Limits | None = None) -> Audit:
    """Look for every fault in the memory as of a day. Nothing is changed.

    Raises:
        LineageError: the memory was embedded by another embedder.
    """
    embed, runs = Memory.load(warehouse, config).embed, runs_of(warehouse, as_of)
    subject = Subject(bank_as_of(warehouse, config, as_of), runs, embed, config, limits or Limits())
    found = {fault: sorted(threshold.find(subject)) for fault, threshold in FAULTS.items()}
    return Audit(
        bank=subject.bank,
        findings=tuple(finding for findings in found.values() for finding in findings),
        checks=tuple(_check(fault, len(findings), len(subject.bank.items)) for fault, findings in found.items()),
        domains=_domains(subject.bank),
        trend=_trend(warehouse, config, _chosen({run.day for run in runs.values()}, as_of)),
    )


def runs_of(warehouse: Warehouse, as_of: date) -> dict[str, Run]:
    """Every logged run of the days until then, of all splits and outcomes, and people's edits; by uid."""
    names = ["trace_uid", "day", "domain", "scope", "task_id", "shown_memory"]
    found: dict[str, Run] = {}
    for key in warehouse.keys(RAW_LOGS):
        if date.fromisoformat(key) > as_of:
            break
        path: Any = warehouse.table_path(RAW_LOGS, key)
        table = pq.read_table(path, columns=names, partitioning=None)  # pyright: ignore[reportArgumentType]
        for row in table.to_pylist():
            run = Run(row["day"], row["domain"], row["scope"], row["task_id"], tuple(row["shown_memory"]))
            found.setdefault(row["trace_uid"], run)
    edits = every_edit(warehouse, as_of)
    return found | {edit.trace_uid: Run(edit.day, edit.domain, edit.scope, "", ()) for edit in edits}


def _check(fault: str, n: int, n_items: int) -> Check:
    threshold = FAULTS[fault]
    share = round(n / max(1, n_items), 4)
    return Check(fault, n, share, threshold.max_share, threshold.severity, share <= threshold.max_share)


def _domains(bank: Bank) -> dict[str, dict[str, int]]:
    items, tokens = Counter[str](), Counter[str]()
    for item in bank.items:
        items[item.domain] += 1
        tokens[item.domain] += n_tokens(item)
    return {domain: {"items": items[domain], "tokens": tokens[domain]} for domain in sorted(items)}


def _chosen(days: Iterable[date], as_of: date) -> list[date]:
    """Days of the trend, the last one always among them; the others stay the same while the memory grows."""
    every = sorted({day for day in days if day <= as_of})
    step = -(-len(every) // _MOST_DAYS) or 1
    return sorted({*every[::step], *every[-1:]})


def _trend(warehouse: Warehouse, config: MemoryConfig, days: Sequence[date]) -> tuple[Grown, ...]:
    counts = counts_as_of(warehouse, config, days)
    return tuple(Grown(day, counts[day]["active"], counts[day]["tokens"]) for day in days)

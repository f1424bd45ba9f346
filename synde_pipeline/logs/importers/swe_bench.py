"""SWE-bench: how its tasks are called, what its reports say of runs, which part of a prompt is the task.

Agents that work on it have importers of their own (`swe_agent`, `mini_swe_agent`, `openhands`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Label

DOMAIN = "software"
_INSTANCE = re.compile(r"([\w.-]+?)__([\w.-]+)-\d+")
_LONGEST_NAME = 200
_ENDINGS = (".gz", ".json", ".traj")
_GOOD = frozenset({"resolved_ids", "resolved"})
_BAD = frozenset({"unresolved_ids", "error_ids", "empty_patch_ids"})
_TRIED = frozenset({"no_generation", "no_apply", "generated", "applied"})
"""Of the older layout, which lists resolved instances here too."""
_ONLY_LISTED = frozenset({"completed_ids", "submitted_ids", "incomplete_ids"})


def named(instance: str, family: str) -> tuple[str, str]:
    """The task id and the scope of an instance; what is no SWE-bench instance is a task of `family`."""
    found = _INSTANCE.fullmatch(instance) if len(instance) <= _LONGEST_NAME else None
    if found is None:
        return f"{family}:{DOMAIN}:{instance}", ""
    return f"swebench:{DOMAIN}:{instance}", f"repository:{found[1]}/{found[2]}"


def instance_of(row: dict[str, Any], path: Path) -> str:
    """The instance that a run worked on: its `instance_id`, else the file's name."""
    if instance := row.get("instance_id"):
        return str(instance)
    name = path.name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def key_of(instance: str) -> str:
    """What labels of SWE-bench call a run."""
    return f"swe-bench:{instance}"


def told(prompt: str) -> tuple[str, str]:
    """The task inside a prompt, and the rest of it, which is the same in every run of the agent."""
    before, _, rest = prompt.partition("<pr_description>")
    task, end, after = rest.partition("</pr_description>")
    return (task.strip(), (before + after).strip()) if end and task.strip() else (prompt, "")


def report_of(document: Any) -> str:
    """Which file of SWE-bench a document is; empty where it is none."""
    if not isinstance(document, dict) or not document:
        return ""
    lists = {key for key, value in document.items() if isinstance(value, list)}
    if lists & _GOOD and lists & (_BAD | _TRIED | _ONLY_LISTED):
        return "SWE-bench report"
    rows = list(document.values())
    if all(isinstance(row, dict) and isinstance(row.get("resolved"), bool) for row in rows):
        return "SWE-bench report"
    if all(isinstance(row, dict) and row.keys() >= {"instance_id", "model_patch"} for row in rows):
        return "SWE-bench predictions"
    return ""


def labels_of(report: dict[str, Any]) -> Iterator[Label]:
    """What a report says; of an instance that it calls resolved and not it says nothing."""
    good, bad, tried = (_ids(report, names) for names in (_GOOD, _BAD, _TRIED))
    good |= {key for key, row in report.items() if isinstance(row, dict) and row.get("resolved") is True}
    bad |= {key for key, row in report.items() if isinstance(row, dict) and row.get("resolved") is False}
    for instance in sorted(good - bad):
        yield Label(key_of(instance), "success", "verifier", 1.0)
    for instance in sorted((bad | tried) - good):
        yield Label(key_of(instance), "failure", "verifier", 0.0)


def _ids(report: dict[str, Any], names: frozenset[str]) -> set[str]:
    lists = (report.get(name) for name in names)
    return {one for some in lists if isinstance(some, list) for one in some if isinstance(one, str)}

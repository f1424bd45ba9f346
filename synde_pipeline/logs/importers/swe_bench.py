"""SWE-bench: how its tasks are called, what its reports say of runs, which part of a prompt is the task.

Agents that work on it have importers of their own (`swe_agent`, `mini_swe_agent`, `openhands`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Label

DOMAIN = "software_engineering"
_INSTANCE = re.compile(r"([\w.-]+?)__([\w.-]+)-\d+")
_TOLD = re.compile(r"<pr_description>(.*?)</pr_description>", re.DOTALL)
_ENDINGS = (".gz", ".json", ".traj")


def named(instance: str, family: str) -> tuple[str, str]:
    """The task id and the scope of an instance; what is no SWE-bench instance is a task of `family`."""
    found = _INSTANCE.fullmatch(instance)
    if found is None:
        return f"{family}:{DOMAIN}:{instance}", ""
    return f"swe-bench:{DOMAIN}:{instance}", f"repository:{found[1]}/{found[2]}"


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
    found = _TOLD.search(prompt)
    if found is None or not found[1].strip():
        return prompt, ""
    return found[1].strip(), (prompt[: found.start()] + prompt[found.end() :]).strip()


def report_of(document: Any) -> str:
    """Which file of SWE-bench a document is; empty where it is none."""
    if not isinstance(document, dict) or not document:
        return ""
    if isinstance(document.get("resolved_ids"), list):
        return "SWE-bench report"
    if isinstance(document.get("resolved"), list) and isinstance(document.get("generated"), list):
        return "SWE-bench report"
    rows = list(document.values())
    if all(isinstance(row, dict) and isinstance(row.get("resolved"), bool) for row in rows):
        return "SWE-bench report"
    if all(isinstance(row, dict) and row.keys() >= {"instance_id", "model_patch"} for row in rows):
        return "SWE-bench predictions"
    return ""


def labels_of(report: dict[str, Any]) -> Iterator[Label]:
    """What a report says: an empty patch resolves nothing; a broken evaluation says nothing of the run."""
    if "resolved_ids" in report:
        good, bad = _texts(report["resolved_ids"]), _texts(report.get("unresolved_ids"), report.get("empty_patch_ids"))
    elif isinstance(report.get("resolved"), list):
        good, bad = _texts(report["resolved"]), _texts(report["generated"]) - _texts(report["resolved"])
    else:
        good = {key for key, row in report.items() if row.get("resolved") is True}
        bad = {key for key, row in report.items() if row.get("resolved") is False}
    for instance in sorted(good - bad):
        yield Label(key_of(instance), "success", "verifier", 1.0)
    for instance in sorted(bad - good):
        yield Label(key_of(instance), "failure", "verifier", 0.0)


def _texts(*lists: Any) -> set[str]:
    return {one for some in lists if isinstance(some, list) for one in some if isinstance(one, str)}

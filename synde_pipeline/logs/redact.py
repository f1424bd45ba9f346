"""Secrets out of text, before anything downstream of landing is stored (law 9).

First cut: well-known credential shapes only. Each is replaced by a placeholder that names its type.
"""

import re

from synde_pipeline.records import Step, Trajectory

PATTERNS: dict[str, re.Pattern[str]] = {
    "private-key": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    "api-key": re.compile(r"\b(?:sk|pk|rk)[-_](?=[\w-]*\d)[A-Za-z0-9_-]{20,}"),
    "access-key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|xox[abprs]-[A-Za-z0-9-]{10,}|glpat-[A-Za-z0-9_-]{20,})\b"),
    "jwt": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\b"),
    "bearer": re.compile(r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{16,}"),
}


def redact(text: str) -> tuple[str, int]:
    """Replace every secret by `[REDACTED:<type>]`; returns the text and how many were found."""
    found = 0
    for kind, pattern in PATTERNS.items():
        text, n = pattern.subn(f"[REDACTED:{kind}]", text)
        found += n
    return text, found


def redact_trajectory(trajectory: Trajectory) -> tuple[Trajectory, int]:
    """Redact all free text of a trajectory; returns it unchanged (the same object) when it holds no secret."""
    found = 0

    def clean(text: str) -> str:
        nonlocal found
        text, n = redact(text)
        found += n
        return text

    def clean_step(step: Step) -> Step:
        names = ("state", "reasoning", "arguments", "result")
        return step.model_copy(update={name: clean(getattr(step, name)) for name in names})

    update = {"task": clean(trajectory.task), "system": clean(trajectory.system)}
    steps = tuple(clean_step(step) for step in trajectory.steps)
    return (trajectory.model_copy(update={**update, "steps": steps}), found) if found else (trajectory, 0)

"""Memory that an agent was shown, taken out of what it saw: it must not come back as a new lesson.

Agents that log whole prompts log their memory block too. It is known by the leads under which `prompting` shows it:
our own marker, up to the next one, or the line of the chat layout and the list below it.
"""

import re
from collections.abc import Iterable

from synde_pipeline.prompting import CONTROLS, LEARNED, MEMORY
from synde_pipeline.records import Trajectory

_OTHERS = "|".join(re.escape(control) for control in CONTROLS if control != MEMORY)
_BLOCK = re.compile(
    rf"{re.escape(MEMORY)}(?P<marked>.*?)(?={_OTHERS}|\Z)|{re.escape(LEARNED.strip())}(?P<listed>(?:\s*\n- [^\n]*)*)",
    re.DOTALL,
)
_ROUGH = re.compile(r"[^\w]+")
_SHORTEST = 12
"""Characters of a lesson's text below which being within a shown item says nothing."""


def without_shown_memory(trajectory: Trajectory) -> tuple[Trajectory, tuple[str, ...]]:
    """The run without the memory blocks in its texts, and the lines that these held."""
    lines: list[str] = []

    def take(match: re.Match[str]) -> str:
        lines.extend(line.strip(" -") for line in (match["marked"] or match["listed"] or "").splitlines())
        return ""

    def clean(text: str) -> str:
        return _BLOCK.sub(take, text)

    steps = tuple(
        step.model_copy(update={name: clean(getattr(step, name)) for name in ("state", "reasoning", "result")})
        for step in trajectory.steps
    )
    task = clean(trajectory.task).strip() or "(memory only)"
    found = trajectory.model_copy(update={"task": task, "steps": steps})
    return found, tuple(dict.fromkeys(line for line in lines if line))


def repeats(text: str, shown: Iterable[str]) -> bool:
    """Whether a lesson's text says what a shown line says, letter case and punctuation aside."""
    rough = _roughly(text)
    if len(rough) < _SHORTEST:
        return False
    return any(rough in line or (len(line) >= _SHORTEST and line in rough) for line in map(_roughly, shown))


def _roughly(text: str) -> str:
    return _ROUGH.sub(" ", text).strip().lower()

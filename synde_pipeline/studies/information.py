"""What in a log teaches: reasoning, failures, the result of each step, or the outcome alone.

Theorem 2 says that execution logs are a richer signal than pairs of question and answer. The same runs are told with
less and less in them; memory and adapters learn from each telling, at equal steps, and act on the same tasks.
"""

from collections.abc import Sequence
from typing import Any

from synde_pipeline.records import Trajectory
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.relogged import Change, told
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.ways import gained, levels

WHOLE = "whole logs"


def without_reasoning(run: Trajectory) -> Trajectory:
    """What the agent wrote before acting is gone."""
    return _steps(run, reasoning="")


def without_results(run: Trajectory) -> Trajectory:
    """Which actions were made, in which order, and the outcome: nothing of what came back, no step's success."""
    return _steps(run, result="", state="", success=None)


def without_verdicts(run: Trajectory) -> Trajectory:
    """What came back is there, but not whether a step worked."""
    return _steps(run, success=None)


def successes(run: Trajectory) -> Trajectory | None:
    """Failed runs are thrown away, as fine-tuning on demonstrations does."""
    return run if run.outcome == "success" else None


def answers(run: Trajectory) -> Trajectory | None:
    """Pairs of question and answer: the last action of successful runs."""
    if run.outcome != "success" or not run.steps:
        return None
    last = run.steps[-1].model_copy(update={"index": 0, "state": "", "reasoning": ""})
    return run.model_copy(update={"steps": (last,)})


def _steps(run: Trajectory, **lost: Any) -> Trajectory:
    return run.model_copy(update={"steps": tuple(step.model_copy(update=lost) for step in run.steps)})


TELLINGS: dict[str, Change] = {
    WHOLE: lambda run: run,
    "without reasoning": without_reasoning,
    "without steps' success": without_verdicts,
    "without results": without_results,
    "successful runs only": successes,
    "answers only": answers,
}


def study(run: StudyRun) -> Sequence[Claim]:
    """Tell, learn, act."""
    found = told(run, TELLINGS)
    text = "Success by memory, by weights, by both, on tasks that nobody handed out."
    run.show("What a log holds", text, rows=levels(found, "logs"))
    said = [
        (
            "answers",
            "7.2",
            "Execution logs teach weights more than questions with answers",
            "answers only",
            "weights",
        ),
        ("answers_memory", "7.2", "Execution logs teach memory more than such pairs", "answers only", "context"),
        ("results", "3.1, 7.2", "What came back from each step teaches weights", "without results", "weights"),
        ("verdicts", "3.1, 7.2", "Whether each step worked teaches memory", "without steps' success", "context"),
        (
            "failures",
            "3.3, 6.3",
            "Failed runs teach weights beyond successes",
            "successful runs only",
            "weights",
        ),
        (
            "failures_memory",
            "3.3, 4.2",
            "Failed runs teach memory beyond successes",
            "successful runs only",
            "context",
        ),
        ("reasoning", "3.2, 7.2", "Logged reasoning teaches weights", "without reasoning", "weights"),
    ]
    claims = []
    for name, section, text, less, cell in said:
        measured = gained(found, WHOLE, less, cell).above(0.0, f"success by {cell}: {WHOLE} minus {less}")
        claims.append(run.claim(name, f"synde.txt {section}", text, **measured))
    return claims

"""A user's environment: a lending desk whose one tool wants a branch that nobody is told of. Registered by tests."""

from collections.abc import Mapping, Sequence

from synde_pipeline.records import Outcome, canonical_json
from synde_pipeline.studies.benchmarks.environments import EnvironmentTask, Reply

RIGHT = '{"book":"%s","branch":"north"}'


class Desk:
    """Renews loans. Urgent tasks leave no time for a second try."""

    domain = "desk"
    tools: Mapping[str, str] = {"renew": "renew a loan; JSON with book, and perhaps more"}

    def __init__(self) -> None:
        self._outcome: Outcome = "unknown"

    def tasks(self) -> Sequence[EnvironmentTask]:
        return [
            EnvironmentTask(
                task_id=f"lending:desk:{number}",
                text=f"Renew the loan of book-{number}{' at once' if number % 2 else ''}.",
                budget=1 if number % 2 else 2,
            )
            for number in range(40)
        ]

    def reset(self, task: EnvironmentTask, *, seed: int) -> str:
        self._book = f"book-{task.task_id.rsplit(':', 1)[1]}"
        self._outcome = "failure"
        return "The desk is open."

    def step(self, tool: str, arguments: str) -> Reply:
        if tool != "renew":
            return Reply(f"Error: there is no tool {tool}", success=False)
        if arguments != RIGHT % self._book:
            return Reply("Error: the argument branch is missing", success=False)
        self._outcome = "success"
        return Reply("renewed", success=True, is_over=True)

    def outcome(self) -> Outcome:
        return self._outcome


class NoDesk:
    """Lacks almost everything."""

    domain = "desk"


class ForeignDesk(Desk):
    """Its tasks are of another domain."""

    domain = "counter"


def clerk(text: str, results: int) -> str:
    """What a clerk does who reads: the branch is known from a lesson, or from the second try on."""
    book = text.partition("loan of ")[2].split()[0].rstrip(".")
    return RIGHT % book if results or "branch" in text.partition("Renew")[0] else canonical_json({"book": book})

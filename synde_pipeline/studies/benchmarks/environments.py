"""What a user writes to have his environment measured: an `Environment`, named in the entry points of his package.

    [project.entry-points."synde.environments"]
    library = "my_package.desk:Desk"

The entry point is called without arguments. Then `SYNDE_ENVIRONMENT=library synde study benchmarks`.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol, runtime_checkable

from pydantic import Field

from synde_pipeline.errors import InputError
from synde_pipeline.records import Outcome
from synde_pipeline.studies.benchmarks.task_set import Task

GROUP = "synde.environments"


class EnvironmentTask(Task):
    """One task of an environment; its id names the environment's domain, its `text` is what the agent sees."""

    text: str = Field(min_length=1)
    prefix: str = ""
    """Text that a model without a chat template goes on from; its continuation is the arguments of the only tool."""
    budget: int = Field(default=1, ge=1)
    """Most actions."""


class Reply(NamedTuple):
    """What comes back from an action."""

    observation: str
    success: bool | None = None
    """Whether the action worked; None does not say."""
    is_over: bool = False


@runtime_checkable
class Environment(Protocol):
    """Tasks, and a world that they are tried in. One task at a time: `reset`, then `step` until it is over."""

    @property
    def domain(self) -> str:
        """Task family: memory and adapters are those of this domain (`[a-z0-9_]`)."""
        ...

    @property
    def tools(self) -> Mapping[str, str]:
        """Name of each tool, without blanks -> what it does and what its arguments are; told to the agent."""
        ...

    def tasks(self) -> Sequence[EnvironmentTask]:
        """All tasks, in an order that never changes."""
        ...

    def reset(self, task: EnvironmentTask, *, seed: int) -> str:
        """Begin a task afresh; equal seeds give equal beginnings. Returns the first observation."""
        ...

    def step(self, tool: str, arguments: str) -> Reply:
        """One action of the agent: text that nobody checked, of a tool that may not exist."""
        ...

    def outcome(self) -> Outcome:
        """How the task went, judged by the environment; asked when it is over or the budget is used up."""
        ...


def environment_named(name: str) -> Environment:
    """Make the environment of an entry point.

    Raises:
        InputError: there is none of that name, it is no `Environment`, or its tasks are not of its domain.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none is installed"
        raise InputError(
            f"no environment is called {name!r}",
            expected=f"an entry point of the group {GROUP} ({known})",
            remedy="install the package that names it, and check SYNDE_ENVIRONMENT",
        )
    environment = found[name].load()()
    if not isinstance(environment, Environment):
        wanted = ", ".join(sorted(part for part in vars(Environment) if not part.startswith("_")))
        raise InputError(f"{found[name].value} is no environment", expected=f"an object with {wanted}")
    check_tasks(environment)
    return environment


def check_tasks(environment: Environment) -> None:
    """Refuse tasks of another domain, and ids that two tasks have.

    Raises:
        InputError: there is such a task, or none at all.
    """
    ids = [task.task_id for task in environment.tasks()]
    strange = [name for name in ids if name.split(":")[1] != environment.domain]
    if not ids or strange or len(set(ids)) < len(ids):
        found = strange[0] if strange else "no task" if not ids else "a task id that two tasks have"
        raise InputError(
            f"an environment of the domain {environment.domain!r} gives {found}",
            expected=f"distinct ids `<family>:{environment.domain}:<id>`",
        )

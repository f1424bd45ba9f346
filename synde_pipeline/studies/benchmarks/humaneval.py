"""HumanEval (Chen et al. 2021) as an environment: one action, the function, judged by the file's own tests.

The file is the user's and is never copied; its tests and solutions reach no prompt, log or page. pass@1 is the share of
tasks that the first and only answer solves.
"""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from synde_pipeline.errors import InputError
from synde_pipeline.records import Outcome
from synde_pipeline.studies.benchmarks.environments import EnvironmentTask, Reply
from synde_pipeline.studies.benchmarks.sandbox import Sandbox

DOMAIN = "code"
TOOL = "submit"
_FENCE = re.compile(r"```[a-zA-Z0-9]*\n(.*?)(?:```|\Z)", re.DOTALL)


class Problem(BaseModel):
    """One line of the file, without its solution."""

    task_id: str
    prompt: str
    entry_point: str
    test: str


def read_problems(path: Path) -> list[Problem]:
    """Read HumanEval's JSON lines, plain or gzipped.

    Raises:
        InputError: there is no such file, or a line is no task.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return [Problem.model_validate(json.loads(line)) for line in file if line.strip()]
    except (OSError, EOFError, ValueError) as error:  # a ValidationError is a ValueError
        raise InputError(
            f"{path} holds no HumanEval tasks ({type(error).__name__})",
            expected="lines of JSON with task_id, prompt, entry_point and test",
            remedy="set SYNDE_HUMANEVAL to HumanEval.jsonl or HumanEval.jsonl.gz",
        ) from error


class HumanEval:
    """The environment.

    Args:
        problems: of the file.
        sandbox: where the answers are tried.
    """

    domain = DOMAIN
    tools: Mapping[str, str] = {
        TOOL: "hand in the whole function as Python code, standard library only; there is one try"
    }

    def __init__(self, problems: Sequence[Problem], sandbox: Sandbox) -> None:
        self._problems = {f"humaneval:{DOMAIN}:{problem.task_id}": problem for problem in problems}
        self._sandbox = sandbox
        self._outcome: Outcome = "failure"

    @cached_property
    def _tasks(self) -> list[EnvironmentTask]:
        lead = "Write this Python function.\n\n"
        return [
            EnvironmentTask(task_id=name, text=lead + problem.prompt.strip(), prefix=problem.prompt)
            for name, problem in self._problems.items()
        ]

    def tasks(self) -> Sequence[EnvironmentTask]:
        """One task a line."""
        return self._tasks

    def reset(self, task: EnvironmentTask, *, seed: int) -> str:
        """Begin a task; there is nothing to see."""
        self._problem = self._problems[task.task_id]
        self._outcome = "failure"
        return ""

    def step(self, tool: str, arguments: str) -> Reply:
        """Try what was handed in; the reply says how it went in a few words."""
        if tool != TOOL:
            return Reply(f"there is no tool {tool[:40]}", success=False, is_over=True)
        problem = self._problem
        code = program_of(problem, arguments)
        verdict = self._sandbox.trial(code, problem.prompt, problem.test, problem.entry_point)
        self._outcome = "success" if verdict.passed else "failure"
        return Reply(verdict.reason, success=verdict.passed, is_over=True)

    def outcome(self) -> Outcome:
        """Whether the tests passed."""
        return self._outcome


def program_of(problem: Problem, answer: str) -> str:
    """The program that an answer stands for: with the function in it whole, or as the continuation of the prompt.

    A fenced block counts alone where it defines the function. A continuation ends at its first unindented line.
    """
    defines = re.compile(rf"^\s*(async )?def {re.escape(problem.entry_point)}\b", re.MULTILINE)
    blocks = [block for block in _FENCE.findall(answer) if defines.search(block)]
    code = blocks[0] if blocks else answer
    if defines.search(code):
        # The prompt's imports and helpers stand before it; its own function has no body and is defined anew.
        return f"{problem.prompt}\n{code}"
    body = []
    for line in code.splitlines():
        if line[:1].strip() and body:
            break
        body.append(line)
    return problem.prompt + "\n".join(body) + "\n"

"""A HumanEval-like file of our own, and a model behind an endpoint that knows its solutions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synde_pipeline.studies.benchmarks.humaneval import TOOL

SECRET = "471100815382"
"""Stands in the tests only: found anywhere else, ground truth has leaked."""

BODIES = {
    "twice": ("n", "Twice n.", "    return n * 2\n", f"assert candidate({SECRET}) == 2 * {SECRET}"),
    "middle": ("xs", "All but both ends, as a tuple.", "    return tuple(xs[1:-1])\n",
               "assert candidate([1, 2, 3]) == (2,)"),
    "count": ("text", "How often each letter is there.",
              "    found = {}\n    for c in text:\n        found[c] = found.get(c, 0) + 1\n    return found\n",
              "assert candidate('aab') == {'a': 2, 'b': 1}"),
}  # fmt: skip


def write_problems(path: Path, n: int = 30) -> list[dict[str, str]]:
    """`n` tasks that are these in turn, under names of their own."""
    rows = []
    for number in range(n):
        name, (argument, words, body, line) = list(BODIES.items())[number % len(BODIES)]
        function = f"{name}_{number}"
        rows.append(
            {
                "task_id": f"Ours/{number}",
                "prompt": f'import math\n\n\ndef {function}({argument}):\n    """ {words}\n    """\n',
                "entry_point": function,
                "canonical_solution": body,
                "test": f"def check(candidate):\n    {line}  # {SECRET}\n",
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def solver(rows: list[dict[str, str]], knows: Callable[[dict[str, str]], bool] = lambda _: True) -> Any:
    """A model that recognises a task by its function, and hands in the solution of those that it knows."""

    def model(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        row = next(row for row in rows if f"def {row['entry_point']}(" in text and row["prompt"].strip() in text)
        solution = row["canonical_solution"] if knows(row) else "    pass\n"
        return json.dumps({"reasoning": "", "tool": TOOL, "arguments": row["prompt"] + solution})

    return model

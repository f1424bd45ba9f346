"""HumanEval's file, answers in all the forms that models give, and every canonical solution of the real file."""

import gzip
import json
from itertools import pairwise

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.llm import Llm
from synde_pipeline.settings import LlmConfig, Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.studies.benchmarks.actors import LlmActor
from synde_pipeline.studies.benchmarks.humaneval import HumanEval, Problem, program_of, read_problems
from synde_pipeline.studies.benchmarks.runner import play_all
from synde_pipeline.studies.benchmarks.sandbox import Sandbox
from synde_pipeline_tests.helpers import SHARED
from synde_pipeline_tests.llm_server import serving
from synde_pipeline_tests.studies.benchmarks.problems import solver, write_problems
from synde_pipeline_tests.studies.benchmarks.test_sandbox import permits

REAL = SHARED / "humaneval" / "HumanEval.jsonl.gz"
PROMPT = 'from math import tau\n\n\ndef help(n):\n    return n\n\n\ndef turn(n):\n    """ n turns. """\n'
PROBLEM = Problem(task_id="x", prompt=PROMPT, entry_point="turn", test="")
WHOLE = "def turn(n):\n    return tau * help(n)"
ANSWERS = {
    "whole": WHOLE,
    "prompt and body": f"{PROMPT}    return tau * help(n)\n",
    "fenced": f"Here it is:\n```python\n{WHOLE}\n```\nIt multiplies.",
    "fenced, with an example before": f"```python\nprint(turn(2))\n```\nand\n```\n{WHOLE}\n```",
    "fence never closed": f"```python\n{WHOLE}\n",
    "continuation": "    return tau * help(n)\n",
    "continuation that runs on": "    return tau * help(n)\n\n\ndef other():\n    return turn(1)\nprint(turn(0)",
    "continuation with a blank line": "\n    x = tau\n\n    return x * help(n)",
}


@pytest.mark.parametrize("form", ANSWERS)
def test_every_form_of_an_answer_becomes_the_same_function(form):
    space: dict = {}
    exec(program_of(PROBLEM, ANSWERS[form]), space)  # our own text
    assert space["turn"](1) == pytest.approx(6.283185307179586)


def test_files_are_read_plain_and_gzipped(tmp_path):
    rows = write_problems(tmp_path / "a.jsonl", 3)
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write((tmp_path / "a.jsonl").read_text())
    plain, zipped = (read_problems(tmp_path / name) for name in ("a.jsonl", "a.jsonl.gz"))
    assert plain == zipped
    assert [problem.entry_point for problem in plain] == [row["entry_point"] for row in rows]
    assert "canonical_solution" not in Problem.model_fields


@pytest.mark.parametrize(("name", "data"), [
    ("a.jsonl", b'{"task_id": 1}'), ("b.jsonl", b"{"), ("c.jsonl.gz", b"no gzip"), ("d.jsonl", b"\xff\xfe"), ("", b""),
])  # fmt: skip
def test_what_is_no_such_file_is_refused_by_name(tmp_path, name, data):
    path = tmp_path / name if name else tmp_path / "missing"
    if name:
        path.write_bytes(data)
    with pytest.raises(InputError, match="SYNDE_HUMANEVAL"):
        read_problems(path)


def environment(path) -> HumanEval:
    if not permits():
        pytest.skip("this machine permits no namespaces")
    return HumanEval(read_problems(path), Sandbox())


def test_the_first_answer_decides_and_another_tool_is_a_wrong_answer(tmp_path):
    rows = write_problems(tmp_path / "a.jsonl", 2)
    found = environment(tmp_path / "a.jsonl")
    task, other = found.tasks()
    found.reset(task, seed=0)
    assert found.step("submit", "no program").is_over
    assert found.outcome() == "failure"
    found.reset(task, seed=0)
    reply = found.step("submit", rows[0]["canonical_solution"])
    assert (reply.success, reply.observation, found.outcome()) == (True, "passed", "success")
    found.reset(other, seed=0)
    assert found.outcome() == "failure"
    assert found.step("run", "").is_over
    assert found.outcome() == "failure"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason=f"no HumanEval file at {REAL}")
def test_all_164_canonical_solutions_pass_through_an_endpoint_and_their_neighbours_fail(home):
    with gzip.open(REAL, "rt") as file:
        rows = [json.loads(line) for line in file]
    found = environment(REAL)
    with serving(solver(rows)) as server:
        llm = Llm(Warehouse(home), Settings(llm=LlmConfig(base_url=server.url, model="knows")).llm)
        runs = play_all(found, LlmActor(llm, "knows"), found.tasks(), label="canonical")
    assert len(runs) == 164
    assert [run.task.task_id for run in runs if not run.is_success] == []
    swapped = [
        found._sandbox.trial(
            f"{row['prompt']}{row['canonical_solution']}\n{row['entry_point']} = lambda *a: None",
            row["prompt"], row["test"], row["entry_point"],
        ).passed
        for row, _ in list(pairwise(rows))[:20]
    ]  # fmt: skip
    assert not any(swapped)

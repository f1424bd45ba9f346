"""House rules that no linter checks: sizes, module docstrings, no mocks, a Makefile whose verbs explain themselves."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "synde_pipeline").rglob("*.py"))
TESTS = sorted((ROOT / "synde_pipeline_tests").rglob("*.py"))


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_has_a_docstring_and_at_most_300_lines(path):
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), "say what belongs here"
    assert len(text.splitlines()) <= 300, "split the file: one purpose each"


def test_nobody_mocks():
    named = re.compile(r"^\s*(import|from) (unittest\.mock|pytest_mock)|monkeypatch\.setattr", re.MULTILINE)
    assert [str(path) for path in TESTS if named.search(path.read_text("utf-8")) and path != Path(__file__)] == []


def test_every_make_verb_has_its_one_line_of_help():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    verbs = {"setup", "run", "test", "soak", "check", "ui", "bench-setup", "clean"}
    assert verbs <= set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))


def test_constraints_pin_every_dependency():
    pinned = set(re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    names = re.findall(r'^    "([A-Za-z0-9_.-]+)[><=]', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in names} <= normal

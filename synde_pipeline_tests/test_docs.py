"""Every command and every piece of Python in `docs/` is executed."""

import json
import re
from pathlib import Path

import pytest

from synde_pipeline_tests.test_readme import ROOT, shell

PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


COMMANDS = [(page, line) for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]


@pytest.fixture(scope="module")
def homes(tmp_path_factory) -> dict[Path, Path]:
    return {page: tmp_path_factory.mktemp(page.stem) for page in PAGES}


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page.stem}: {line}" for page, line in COMMANDS])
def test_a_command_of_the_docs_works(page, command, homes):
    done = shell(command, homes[page])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_importer_of_the_docs_reads_its_rows(tmp_path):
    (code,) = blocks(ROOT / "docs" / "importer.md", "python")
    names: dict = {}
    exec(compile(code, "importer.md", "exec"), names)
    importer = names["Calls"]()
    row = {
        "id": 7,
        "ask": "renew",
        "calls": [{"name": "find", "args": "{}", "out": "ok"}],
        "ok": True,
        "at": 1735689600,
    }
    document = json.loads(json.dumps([row]))
    assert importer.detects(document)
    assert not importer.detects([{"messages": []}])
    (found,) = importer.rows(document)
    draft = importer.parse(found, document, tmp_path)
    assert (draft.trace_uid, draft.outcome, draft.steps[0].tool, draft.started_at.year) == (
        "calls:7",
        "success",
        "find",
        2025,
    )


def test_docs_name_settings_that_exist():
    from synde_pipeline.settings import ENVIRONMENT

    known = {*ENVIRONMENT, "SYNDE_TRAINING_PRESET", "SYNDE_UPSTREAM_KEY", "SYNDE_LLM_KEY"}
    named = {name for page in PAGES for name in re.findall(r"SYNDE_[A-Z_]+", page.read_text("utf-8"))}
    assert named <= known

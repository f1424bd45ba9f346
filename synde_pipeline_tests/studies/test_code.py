"""The hash of a study's code covers what the interpreter really imports for it, and nothing of other studies."""

import json
import subprocess
import sys

import pytest

from synde_pipeline.studies.code import NO_NUMBERS, PACKAGE, PREFIX, code_hash, modules_of
from synde_pipeline.studies.registry import STUDIES

SHOW = (
    "import json, sys, importlib; importlib.import_module(sys.argv[1]);"
    f"print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('{PREFIX}.')]))"
)


@pytest.mark.parametrize("name", ["mechanism", "parity", "notes"])
def test_the_hash_of_a_study_covers_every_module_that_importing_it_loads(name):
    module = STUDIES[name].partition(":")[0]
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHOW, module], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(shown.stdout))

    others = {PACKAGE / "studies" / "__init__.py", *NO_NUMBERS}
    assert loaded <= {str(file) for file in modules_of(name) | others}


def test_a_study_does_not_count_the_code_of_another_one():
    assert PACKAGE / "studies" / "noise.py" not in modules_of("parity")
    assert len({code_hash(), *map(code_hash, STUDIES)}) == len(STUDIES) + 1

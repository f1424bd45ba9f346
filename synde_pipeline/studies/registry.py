"""The studies that `synde study` knows, and what each of them claims: records and names only, cheap to import.

How a study is run and where its files go is in `study`; what all claims add up to, in `claims`.
"""

import ast
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.errors import InputError
from synde_pipeline.records.base import Record

Preset = Literal["quick", "full"]
"""quick: to see it work, minutes for all studies together. full: what is reported."""

STUDIES = {
    "mechanism": "synde_pipeline.studies.mechanism.study:study",
    "parity": "synde_pipeline.studies.parity:study",
    "synergy": "synde_pipeline.studies.synergy:study",
    "compounding": "synde_pipeline.studies.compounding:study",
    "ablation": "synde_pipeline.studies.ablation:study",
    "case_study": "synde_pipeline.studies.case_study:study",
    "information": "synde_pipeline.studies.information:study",
    "noise": "synde_pipeline.studies.noise:study",
    "drift": "synde_pipeline.studies.drift:study",
    "composition": "synde_pipeline.studies.composition:study",
    "forgetting": "synde_pipeline.studies.forgetting:study",
    "cycles": "synde_pipeline.studies.cycles_composed:study",
    "sharing": "synde_pipeline.studies.sharing:study",
    "active_learning": "synde_pipeline.studies.active_learning:study",
    "scaling": "synde_pipeline.studies.scaling:study",
    "benchmarks": "synde_pipeline.studies.benchmarks.study:study",
    "notes": "synde_pipeline.studies.notes_benchmark:study",
    "poisoning": "synde_pipeline.studies.poisoning:study",
    "blockrank": "synde_pipeline.studies.blockrank:study",
    "deployment": "synde_pipeline.studies.deployment:study",
    "router": "synde_pipeline.studies.router:study",
}
"""Name -> where its function is, imported when it is asked for. The module's first line says what it is about."""


class Claim(Record):
    """One sentence that a study tested, with its numbers. The verdict is computed from thresholds, never typed."""

    id: str
    """Stable over runs: `<study>.<claim>`."""
    source: str
    """Who says it: a paper's section, or `ours`."""
    claim: str
    """The sentence that is tested."""
    measured: float | None
    """None where nothing could be measured."""
    error: tuple[float, float] | None
    """95 % interval of `measured`."""
    n: int
    """Independent units: seeds, places, tasks, queries."""
    verdict: str
    command: str
    """What to run to get the numbers again."""
    what: str = ""
    """What `measured` is, with its unit, and what `n` counts."""


Study = Callable[[Any], Sequence[Claim]]
"""Takes a `study.StudyRun`, writes what it measured into it, and returns what that says."""


def study_of(name: str) -> Study:
    """The function of a study.

    Raises:
        InputError: there is no study of that name.
    """
    if name not in STUDIES:
        raise InputError(f"no study is called {name!r}", expected=" or ".join(STUDIES), remedy="see `synde study`")
    module, _, function = STUDIES[name].partition(":")
    return getattr(import_module(module), function)


def about(name: str) -> str:
    """First line of a study's module, which is read but not imported: studies load models."""
    found = find_spec(STUDIES[name].partition(":")[0])
    assert found is not None  # noqa: S101 - the table above names modules of this package
    return (ast.get_docstring(ast.parse(Path(found.origin or "").read_text("utf-8"))) or "").splitlines()[0]

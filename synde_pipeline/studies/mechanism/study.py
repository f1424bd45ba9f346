"""Whether context is a change of weights, whether LoRA finds the same change, and whether such changes add up (RQ1).

    synde study mechanism [--preset quick]

Theorems 1 and 3, appendices A and C.1 of synde.txt: ten families of transformers with random weights, small ones that
learn linear regression and pattern matching in context, and the embedded base with memory of lived days. The logs of
the small tasks are the very pairs of their contexts. No large pretrained model is measured.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synde_pipeline.base_model import one_thread, quiet_transformers
from synde_pipeline.studies.mechanism.claims import tried
from synde_pipeline.studies.mechanism.page import show
from synde_pipeline.studies.mechanism.reading import SETTINGS
from synde_pipeline.studies.mechanism.summary import summary
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun

if TYPE_CHECKING:
    from synde_pipeline.studies.mechanism.base import BaseSize
    from synde_pipeline.studies.mechanism.small import Size

FAMILY_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    n_seeds: int
    n_linear: int
    """Tasks of linear attention."""
    regression: "Size"
    patterns: "Size"
    base: "BaseSize"


def plan_of(*, quick: bool) -> Plan:
    """The two sizes."""
    from synde_pipeline.studies.mechanism.base import BaseSize
    from synde_pipeline.studies.mechanism.measure import FEW_RANKS
    from synde_pipeline.studies.mechanism.small import Size

    if quick:
        small = Size(50, 3, 64, 40, FEW_RANKS)
        return Plan(1, 10, small, small, BaseSize(2, 8, 4, 5, 10, FEW_RANKS))
    return Plan(3, 50, Size(700, 6, 96, 150), Size(120, 6, 96, 150), BaseSize(3, 14, 8, 12, 30))


def study(run: StudyRun) -> Sequence[Claim]:
    """Measure and judge."""
    plan = plan_of(quick=run.is_quick)
    quiet_transformers()
    with one_thread(), tempfile.TemporaryDirectory() as home:
        parted = parts(plan, Path(home)).items()
        report = assembled({name: run.part({"part": name, "plan": asdict(plan)}, part) for name, part in parted})
    found, tables = tried(report), summary(report)
    conditions = [row for one in found for row in one.rows()]
    run.numbers |= {"plan": asdict(plan), "conditions": conditions, "summary": tables, "measured": report}
    show(run, tables, conditions)
    return [run.claim(one.id, one.source, one.claim, **one.measured()) for one in found]


def parts(plan: Plan, home: Path) -> dict[str, Callable[[], Any]]:
    """What the study consists of, by name; each part stands alone and follows from its seed.

    Args:
        plan: how much is measured.
        home: holds the lived days of the embedded base.
    """
    from synde_pipeline.studies.mechanism import base, small
    from synde_pipeline.studies.mechanism.families import NAMES, family_exactness
    from synde_pipeline.studies.mechanism.linear import measured as linear_measured
    from synde_pipeline.studies.mechanism.tasks import PATTERNS, REGRESSION

    found: dict[str, Callable[[], Any]] = {
        "families": lambda: {name: [family_exactness(name, seed) for seed in FAMILY_SEEDS] for name in NAMES},
        "linear": lambda: [linear_measured(k, eta) for eta in (0.2, 0.5, 1.0) for k in range(plan.n_linear)],
    }
    for seed in range(1, plan.n_seeds + 1):
        found[f"{REGRESSION.name}/{seed}"] = partial(small.measured, REGRESSION, seed, plan.regression)
        found[f"{PATTERNS.name}/{seed}"] = partial(small.measured, PATTERNS, seed, plan.patterns)
        found[f"{SETTINGS[2]}/{seed}"] = partial(base.measured, home / str(seed), seed, plan.base)
    return found


def assembled(found: Mapping[str, Any]) -> dict[str, Any]:
    """The parts' results as one report."""
    settings = {name: [found[key] for key in sorted(found) if key.startswith(f"{name}/")] for name in SETTINGS}
    known = {name: seeds for name, seeds in settings.items() if seeds}
    return {"families": found["families"], "linear": found["linear"], "settings": known}

"""Whether context is a change of weights, whether LoRA finds the same change, and whether such changes add up (RQ1).

    synde study mechanism [--quick]

Theorems 1 and 3, appendices A and C.1 of synde.txt: ten families of transformers with random weights, small ones that
learn linear regression and pattern matching in context, and the embedded base with memory of lived days. The logs of
the small tasks are the very pairs of their contexts. No large pretrained model is measured.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synde_pipeline.base_model import one_thread, quiet_transformers
from synde_pipeline.studies.mechanism.claims import SETTINGS, tried
from synde_pipeline.studies.mechanism.page import plots, render
from synde_pipeline.studies.mechanism.summary import summary
from synde_pipeline.studies.registry import Claim

if TYPE_CHECKING:
    from synde_pipeline.studies.mechanism.base import BaseSize
    from synde_pipeline.studies.mechanism.small import Size

COMMAND = "synde study mechanism"


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
    from synde_pipeline.studies.mechanism.small import Size

    if quick:
        return Plan(1, 10, Size(80, 3, 64, 80), Size(70, 3, 64, 80), BaseSize(2, 12, 6, 8, 20, all_ranks=False))
    return Plan(3, 50, Size(400, 6, 128, 200), Size(150, 6, 128, 200), BaseSize(3, 16, 8, 12, 40))


def study(folder: Path, *, quick: bool = False) -> Sequence[Claim]:
    """Measure and judge; writes `report.json`, `report.html` and what every claim rests on."""
    plan = plan_of(quick=quick)
    with one_thread():
        report = measure_all(plan)
    found = tried(report)
    claims = [one.as_claim(COMMAND + " --quick" * quick) for one in found]
    drawn = plots(summary(report))
    facts = {
        "plan": asdict(plan),
        "claims": [claim.model_dump(mode="json") for claim in claims],
        "conditions": [one.for_json() for one in found],
        "summary": summary(report),
        "measured": report,
    }
    (folder / "report.json").write_text(json.dumps(facts, indent=1), "utf-8")
    (folder / "report.html").write_text(render(facts, drawn), "utf-8")
    return claims


def measure_all(plan: Plan) -> dict[str, Any]:
    """All numbers: families, linear attention, and each setting's list of seeds."""
    from synde_pipeline.studies.mechanism import base, small
    from synde_pipeline.studies.mechanism.families import NAMES, family_exactness
    from synde_pipeline.studies.mechanism.linear import measured as linear_measured
    from synde_pipeline.studies.mechanism.tasks import PATTERNS, REGRESSION

    quiet_transformers()
    seeds = range(1, plan.n_seeds + 1)
    found = {
        REGRESSION.name: [small.measured(REGRESSION, seed, plan.regression) for seed in seeds],
        PATTERNS.name: [small.measured(PATTERNS, seed, plan.patterns) for seed in seeds],
    }
    with tempfile.TemporaryDirectory() as home:
        found[SETTINGS[2]] = [base.measured(Path(home) / str(seed), seed, plan.base) for seed in seeds]
    return {
        "families": {name: [family_exactness(name, seed) for seed in seeds] for name in NAMES},
        "linear": [linear_measured(k, eta) for eta in (0.2, 0.5, 1.0) for k in range(plan.n_linear)],
        "settings": found,
    }

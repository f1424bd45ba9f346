"""When a candidate may become the champion: the rule, and the checks that it is made of.

Pure: evidence in, verdict out. How evidence is gathered is in `replay_gate` and, for worlds, in `simulation.gating`;
what a verdict does to the champion, in `gate`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from synde_pipeline.evaluation.paired import Pairs, lower_bound, p_value
from synde_pipeline.evaluation.stats import estimate, resamples
from synde_pipeline.evaluation.stats import verdict as verdict_of
from synde_pipeline.evaluation.wealth import IMPROVEMENT, NON_INFERIOR, NOTHING
from synde_pipeline.settings import EvaluationConfig
from synde_pipeline.settings_gate import GateConfig

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"
Status = Literal["passed", "failed", "not applicable"]

SERVED, ALONE = "dual", "weights"
"""The arm that serving uses, with memory; and the weights alone."""


@dataclass(frozen=True)
class Check:
    """One thing that must not have failed."""

    name: str
    status: Status
    sentence: str
    """For people."""
    found: float | None = None
    limit: float | None = None
    n: int | None = None
    """Units that the number rests on."""
    p: float | None = None
    """Of the hypothesis that the candidate is worse than the limit allows."""


def check(name: str, is_passed: bool, sentence: str, **numbers: Any) -> Check:
    """A check with its numbers; one that is not finite fails it."""
    odd = [key for key, value in numbers.items() if isinstance(value, float) and math.isnan(value)]
    shown = {key: None if key in odd or value in (math.inf, -math.inf) else value for key, value in numbers.items()}
    if odd:
        sentence = f"{sentence} (no number: {', '.join(odd)})"
    return Check(name, PASSED if is_passed and not odd else FAILED, sentence, **shown)


@dataclass(frozen=True)
class Evidence:
    """What candidate and champion did on the same `gate` tasks, with the same chances."""

    metric: str
    """`success` (share of tasks) or `nll` (nats per action token, gains are reductions)."""
    clustered_by: str
    """What the independent groups are: `place` or `task`."""
    arms: Mapping[str, Pairs]
    """`dual`, as served, and `weights`, without memory."""
    rates: Mapping[str, tuple[float, float]]
    """Arm -> what candidate and champion reach in the metric."""
    known: Mapping[str, Pairs] | None
    """The part of it that was known before the cycle, by arm; None where nothing was."""
    about_known: str
    """What that part is."""
    also: Mapping[str, Pairs] = field(default_factory=dict)
    """Other measures of the served arm, shares: none may be shown lower, or be lower by `served_margin`."""

    @property
    def n(self) -> int:
        """Gate tasks."""
        return self.arms[SERVED].n


@dataclass(frozen=True)
class Terms:
    """What one comparison is judged by."""

    level: float
    """For calling it better (`wealth.level_now`)."""
    given_up: float
    """Loss as served that earlier promotions, not shown better, have let through since the last that was."""
    config: GateConfig
    intervals: EvaluationConfig


def judge(evidence: Evidence, others: Sequence[Check], terms: Terms) -> dict[str, Any]:
    """The gate's section of a report: verdict, reason and every number.

    The rule. A candidate passes when no check failed, and
    (a) it is *shown better*: p <= level on the served arm or on weights alone (twice the smaller p: two tries), where a
        gain of weights alone counts only if a loss as served of `served_margin` or more is excluded at 5 %; or
    (b) it is *not worse*: at least `n_min` gate tasks exist, and a loss as served of `margin`, less what earlier
        promotions of this kind gave up since the last of kind (a), is excluded at 5 %.
    Else the evidence is insufficient. (a) has the wider margin because memory may say all that weights could: then both
    arms' ceiling hides no gain, weights that know it too save memory's tokens and serve where memory is missing, and
    nothing is lost but the chance of `served_margin` at 5 %. (b) gives up at most `margin` in all, however often.
    What was known before, on both arms, must not fall by `retention_margin` in either case.

    Args:
        evidence: on gate tasks.
        others: checks that need no comparison on gate tasks, or that were made before it.
        terms: level, margins.
    """
    config = terms.config
    ps = {arm: p_value(pairs) for arm, pairs in evidence.arms.items()}
    served = evidence.arms[SERVED]
    p_better = min(1.0, 2 * min(ps.values()))
    margin = max(config.margin - max(terms.given_up, 0.0), 0.0)
    p_kept, p_near = p_value(served, config.served_margin), p_value(served, margin) if margin else 1.0
    # Shown better as served is the stronger proof of the same thing.
    is_better = p_better <= terms.level and (2 * ps[SERVED] <= terms.level or p_kept <= config.level)
    is_near = evidence.n >= config.n_min and p_near <= config.level
    basis = IMPROVEMENT if is_better else NON_INFERIOR if is_near else NOTHING
    if not math.isfinite(served.value) or not math.isfinite(evidence.arms[ALONE].value):
        basis = NOTHING
    checks = [
        *others,
        _verdict_check(evidence, terms, basis, {"p_better": p_better, "p_near": p_near, "margin": margin, **ps}),
        *_kept_checks(evidence, config),
    ]
    failed = [item for item in checks if item.status == FAILED]
    gained = served.value if math.isfinite(served.value) else 0.0
    section = {
        "passed": not failed,
        "verdict": basis if basis != NOTHING else "insufficient evidence",
        "basis": basis,
        "reason": _reason(evidence, basis, failed),
        "metric": evidence.metric,
        "n": evidence.n,
        "n_clusters": served.n_clusters,
        "clustered_by": evidence.clustered_by,
        "level": terms.level,
        "given_up": 0.0
        if basis == IMPROVEMENT and 2 * ps[SERVED] <= terms.level
        else max(terms.given_up - gained, 0.0),
        "p": {"better": p_better, "served_kept": p_kept, "not_worse": p_near, **ps},
        **{arm: _arm(evidence, arm, terms) for arm in (SERVED, ALONE)},
        "checks": [asdict(item) for item in checks],
    }
    return _finite(section)


def _finite(value: Any) -> Any:
    """A JSON value with None where there is no number."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verdict_check(evidence: Evidence, terms: Terms, basis: str, found: Mapping[str, float]) -> Check:
    where = f"{evidence.n} gate tasks ({evidence.arms[SERVED].n_clusters} {evidence.clustered_by}s)"
    gains = ", ".join(
        f"{name} {evidence.arms[arm].value:+.3f} (p {found[arm]:.3g})"
        for arm, name in ((SERVED, "as served"), (ALONE, "weights alone"))
    )
    why = {
        IMPROVEMENT: f"shown better at level {terms.level:.3g}",
        NON_INFERIOR: f"not shown better; a loss of {found['margin']:.3f} as served excluded (p {found['p_near']:.3g})",
        NOTHING: "insufficient evidence: "
        + (
            f"neither better at level {terms.level:.3g} nor a loss of {found['margin']:.3f} excluded"
            f" (p {found['p_near']:.3g})"
            if evidence.n >= terms.config.n_min
            else f"not better at level {terms.level:.3g}, and {terms.config.n_min} tasks are the fewest that can show"
            " that it is not worse"
        ),
    }[basis]
    return check(
        "better or not worse",
        basis != NOTHING,
        f"{where}: {gains}; {why}",
        found=evidence.arms[SERVED].value,
        limit=terms.level,
        n=evidence.n,
        p=found["p_better"],
    )


def _kept_checks(evidence: Evidence, config: GateConfig) -> list[Check]:
    """Checks that nothing which was there before fell by a margin."""
    found = [_not_worse(f"served {name}", pairs, config, name) for name, pairs in evidence.also.items()]
    if evidence.known is None:
        return [*found, Check("retention", NOT_APPLICABLE, f"{evidence.about_known}: nothing to forget yet")]
    for arm, name in ((SERVED, "as served"), (ALONE, "weights alone")):
        what = f"{evidence.about_known}, {name}"
        found.append(no_loss(f"retention {arm}", evidence.known[arm], config.retention_margin, config.level, what))
    return found


def no_loss(name: str, pairs: Pairs, margin: float, level: float, what: str) -> Check:
    """A check that a loss of the margin is excluded at a level."""
    p, bound = p_value(pairs, margin), lower_bound(pairs, level)
    is_passed = math.isfinite(pairs.value) and p <= level
    at_most = f"a loss of {max(-bound, 0):.3f} is not excluded" if math.isfinite(bound) else "no loss is excluded"
    sentence = (
        f"{what}: {pairs.value:+.3f} on {pairs.n}; {f'a loss of {margin:g} is excluded' if is_passed else at_most}"
    )
    return check(name, is_passed, f"{sentence} (p {p:.3g})", found=pairs.value, limit=-margin, n=pairs.n, p=p)


def _not_worse(name: str, pairs: Pairs, config: GateConfig, what: str) -> Check:
    """A check that a second measure shows no loss, and is not lower by the margin: it can stop, and proves nothing."""
    p = p_value(Pairs(-pairs.gain, pairs.size, pairs.cluster))
    is_passed = p > config.level and pairs.value > -config.served_margin
    sentence = f"{what} as served: {pairs.value:+.3f} on {pairs.n} (p of a loss {p:.3g})"
    return check(name, is_passed, sentence, found=pairs.value, limit=-config.served_margin, n=pairs.n, p=p)


def _arm(evidence: Evidence, arm: str, terms: Terms) -> dict[str, Any]:
    """Rates and difference of an arm, with the interval that reports show."""
    pairs = evidence.arms[arm]
    candidate, before = evidence.rates[arm]
    found: dict[str, Any] = {"candidate": candidate, "champion": before, "difference": None, "verdict": "too few"}
    if pairs.n_clusters >= 2:
        gains, sizes = pairs.by_cluster()
        draws = resamples(len(gains), terms.intervals)
        difference = estimate(gains, sizes, draws, terms.intervals.confidence)
        found |= {"difference": asdict(difference), "verdict": verdict_of(difference, lower_is_better=False)}
    return found


def _reason(evidence: Evidence, basis: str, failed: Sequence[Check]) -> str:
    """One sentence for the champion's history."""
    if failed:
        return "; ".join(f"{item.name}: {item.sentence}" for item in failed[:3])
    gains = ", ".join(f"{arm} {evidence.arms[arm].value:+.3f}" for arm in (SERVED, ALONE))
    return f"{basis} on {evidence.n} gate tasks against the champion: {gains} ({evidence.metric})"


def refused(checks: Sequence[Check]) -> dict[str, Any]:
    """The gate's section where a candidate was not even tried."""
    failed = [item for item in checks if item.status == FAILED]
    return {
        "passed": False,
        "verdict": "refused",
        "basis": "",
        "reason": "; ".join(f"{item.name}: {item.sentence}" for item in failed[:3]) or "not evaluated",
        "n": 0,
        "checks": [asdict(item) for item in checks],
    }

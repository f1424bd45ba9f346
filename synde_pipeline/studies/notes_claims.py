"""What the notes benchmark says of each claim: differences paired by seed, with verdicts computed from intervals."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.verdicts import against

DOCUMENT = "in-memory-learning.md, "
STABILITY, ACCUMULATION, RESULTS = DOCUMENT + "mechanism 2", DOCUMENT + "mechanism 3", DOCUMENT + "key results"
LIMITS = {"noise": -0.1, "quality": 0.9, "monotone": -0.05}
"""What a claim must exceed where that is not zero: a tolerated loss, a share of true rules, the deepest fall borne."""
Row = dict[str, Any]


def claims_of(report: dict[str, Any], command: str) -> list[Claim]:
    """All claims; each difference is taken within a seed first, so that its interval is over seeds."""
    grid, carry = report["grid"], report["carry"]
    small = [row for row in grid if row["accumulation"] < 16]
    found = [
        ("momentum", STABILITY,
         "momentum lowers the in-run deviation (half against none, accumulation 1 and 4)",
         difference(small, "deviation", {"momentum": 0.0}, {"momentum": 0.5})),
        ("full_momentum", STABILITY,
         "full momentum lowers it further (full against half, accumulation 1 and 4)",
         difference(small, "deviation", {"momentum": 0.5}, {"momentum": 1.0})),
        ("accumulation", "ours",
         "accumulation raises the accuracy (16 minibatches against 1)",
         difference(grid, "accuracy", {"accumulation": 16}, {"accumulation": 1})),
        ("accumulation_deviation", ACCUMULATION,
         "accumulation lowers the in-run deviation without momentum (16 against 1)",
         difference(_where(grid, momentum=0.0), "deviation", {"accumulation": 1}, {"accumulation": 16})),
        ("better_than_none", RESULTS,
         "notes raise the accuracy above no notes (momentum .5, accumulation 4, noise .1)",
         above(_one(grid, momentum=0.5, accumulation=4, noise=0.1)["by_seed"]["accuracy"], report["chance"])),
        ("full_freezes", DOCUMENT + "design tradeoffs",
         "full momentum keeps early mistakes (half against full at accumulation 4, noise .2)",
         difference(_where(grid, accumulation=4, noise=0.2), "accuracy", {"momentum": 0.5}, {"momentum": 1.0})),
        ("improves", RESULTS,
         "notes go on improving over a run (second half against first; words only, momentum .5)",
         mean_of(_where(small, momentum=0.5), "gain")),
        ("improves_with_evidence", "ours",
         "notes with carried evidence go on improving (carry 1, accumulation 1)",
         mean_of(_where(carry, carry=1.0, accumulation=1), "gain")),
        ("evidence_accuracy", "ours",
         "carried evidence raises the accuracy (carry 1 against 0, equal words)",
         difference(carry, "accuracy", {"carry": 1.0}, {"carry": 0.0})),
        ("evidence_drift", "ours",
         "after a change of the table, forgetting a tenth beats keeping all evidence",
         difference(report["transfer"], "late", {"carry": 0.9}, {"carry": 1.0})),
        ("transfer", DOCUMENT + "next checks",
         "old notes help with a related table at first (carry .9, first tenth of the samples)",
         _within(_one(report["transfer"], carry=0.9), "early", "early_afresh")),
        ("examples", DOCUMENT + "open questions",
         "notes beat the nearest in-context examples of equal words (carry 1, accumulation 4)",
         _against_examples(report)),
        ("single_step", DOCUMENT + "first experiments",
         "one cycle on 160 samples raises the accuracy (noise .1)",
         above(_one(report["single_step"], noise=0.1, samples=160)["by_seed"]["accuracy"], report["chance"])),
        ("unlabelled", DOCUMENT + "executive summary",
         "notes improve where only success is seen, never a label",
         above(_one(report["success_only"], accumulation=4, noise=0.1)["by_seed"]["accuracy"], report["chance"])),
        ("complex", DOCUMENT + "open questions",
         "notes raise the accuracy on the harder table too (noise .2)",
         above(_one(report["hard"], momentum=0.5, accumulation=4, noise=0.2)["by_seed"]["accuracy"], report["chance"])),
        ("noise", DOCUMENT + "next checks",
         "notes bear wrong labels: .3 against none costs less than .1",
         difference(_where(grid, momentum=0.5, accumulation=4), "accuracy", {"noise": 0.3}, {"noise": 0.0})),
        ("quality", DOCUMENT + "next checks",
         "notes are rules, not cases: above .9 of them hold for all (noise .1)",
         mean_of(_where(grid, momentum=0.5, accumulation=4, noise=0.1), "precision")),
        ("detail", DOCUMENT + "design tradeoffs",
         "more detailed notes are better ones (140 words against 90)",
         difference([*small, *_where(carry, carry=0.0)], "accuracy", {"max_words": 140}, {"max_words": 90})),
        ("monotone", DOCUMENT + "foundational learning",
         "accuracy rises without falling by more than .05 on the way",
         [-value for value in mean_of(_where(small, momentum=0.5), "drawdown")]),
    ]  # fmt: skip
    return [_claim(name, source, text, values, command) for name, source, text, values in found]


def _claim(name: str, source: str, text: str, values: Sequence[float], command: str) -> Claim:
    found = mean_interval(values)
    measured, error = found or (None, None)
    return Claim(
        id=f"notes.{name}", source=source, claim=text, measured=measured, error=error, n=len(values),
        verdict=against(error, LIMITS.get(name, 0.0)), command=command,
    )  # fmt: skip


def difference(rows: Iterable[Row], name: str, more: Row, less: Row) -> list[float]:
    """For each seed, the mean over all other settings of (`more` minus `less`)."""
    rows = list(rows)
    knobs = [knob for knob in ("momentum", "accumulation", "noise", "carry") if knob not in more]
    pairs = []
    for row in _where(rows, **more):
        rest = {knob: row[knob] for knob in knobs if knob in row}
        pairs.append((row, _one(rows, **rest | less)))
    return _per_seed(pairs, lambda one, other, k: one["by_seed"][name][k] - other["by_seed"][name][k])


def above(values: Sequence[float], limit: float) -> list[float]:
    """By how much each value is above a limit."""
    return [value - limit for value in values]


def mean_of(rows: Iterable[Row], name: str) -> list[float]:
    """For each seed, the mean over settings."""
    return _per_seed([(row, row) for row in rows], lambda one, _, k: one["by_seed"][name][k])


def _within(row: Row, more: str, less: str) -> list[float]:
    return [one - other for one, other in zip(row["by_seed"][more], row["by_seed"][less], strict=True)]


def _against_examples(report: dict[str, Any]) -> list[float]:
    rows = _where(report["carry"], carry=1.0, accumulation=4, momentum=0.5)
    pairs = [(row, _one(report["in_context"], noise=row["noise"], words=row["max_words"])["nearest"]) for row in rows]
    return _per_seed(pairs, lambda one, other, k: one["by_seed"]["accuracy"][k] - other["by_seed"]["accuracy"][k])


def _per_seed(pairs: Sequence[tuple[Row, Row]], value: Callable[[Row, Row, int], float]) -> list[float]:
    n_seeds = pairs[0][0]["n"]
    return [sum(value(one, other, k) for one, other in pairs) / len(pairs) for k in range(n_seeds)]


def _where(rows: Iterable[Row], **knobs: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in knobs.items())]


def _one(rows: Iterable[Row], **knobs: Any) -> Row:
    (row,) = _where(rows, **knobs)
    return row

"""What the measurements say of the paper's sentences. Every verdict is computed here, from thresholds, never typed.

A claim is tried under several conditions (families, targets, ways to train). A condition is met where all of its 95 %
interval lies on the claim's side of the limit, and missed where all of it lies on the other side. An exact claim is met
where every single measurement is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from synde_pipeline.evaluation.stats import mean_interval
from synde_pipeline.studies.registry import Claim

TOLERANCE = 1e-4
"""Largest deviation of a logit in float32 that counts as none."""
RANK_TOLERANCE = 1e-5
"""Second singular value over the first."""
PAPERS_DISTANCE = 0.01
"""RQ1's own threshold, never adjusted."""
MOST = 0.95
"""Share of what the context achieves that counts as all of it; also of agreement."""
LITTLE = 0.05
"""Cosine, or share of a context's effect that may be missing."""
FLOAT64 = 1e-12
SETTINGS = ("linear regression", "pattern matching", "embedded base")
Report = Mapping[str, Any]


class Condition(NamedTuple):
    """One way in which a claim was tried."""

    name: str
    values: Sequence[float]
    """One of each independent unit."""


@dataclass(frozen=True)
class Tried:
    """A claim and what was measured of it."""

    id: str
    source: str
    claim: str
    conditions: Sequence[Condition]
    """The first one is the paper's own, and gives the claim's number."""
    limit: float
    is_upper: bool = False
    """Whether values must stay below the limit."""
    is_exact: bool = False

    def states(self) -> list[str]:
        """`met`, `missed` or `open`, by condition."""
        return [self._state(one.values) for one in self.conditions]

    def _state(self, values: Sequence[float]) -> str:
        interval = mean_interval(values)
        if self.is_exact or interval is None:
            low, high = min(values), max(values)
            if not self.is_exact and len(values) < 2:
                return "open"
        else:
            low, high = interval[1]
        if self.is_upper:
            return "met" if high <= self.limit else "missed" if self.is_exact or low > self.limit else "open"
        return "met" if low >= self.limit else "missed" if self.is_exact or high < self.limit else "open"

    def verdict(self) -> str:
        """`holds exactly`, `holds`, `holds under conditions`, `does not hold` or `not shown`."""
        states = set(self.states())
        if states == {"met"}:
            return "holds exactly" if self.is_exact else "holds"
        if "met" in states:
            return "holds under conditions"
        return "does not hold" if states == {"missed"} else "not shown"

    def as_claim(self, command: str) -> Claim:
        """The claim as the registry keeps it; an exact one shows its worst value and no interval."""
        if self.is_exact:
            every = [value for one in self.conditions for value in one.values]
            measured, error, n = (max if self.is_upper else min)(every), None, len(every)
        else:
            values = self.conditions[0].values
            n, (measured, error) = len(values), mean_of(values)
        return Claim(
            id=f"mechanism.{self.id}",
            source=self.source,
            claim=self.claim,
            measured=measured,
            error=error,
            n=n,
            verdict=self.verdict(),
            command=command,
        )

    def for_json(self) -> dict[str, Any]:
        """Conditions with their intervals, limit and states."""
        rows = []
        for one, state in zip(self.conditions, self.states(), strict=True):
            mean, interval = mean_of(one.values)
            rows.append({"name": one.name, "mean": mean, "interval": interval, "n": len(one.values), "state": state})
        side = "at most" if self.is_upper else "at least"
        return {"id": f"mechanism.{self.id}", "limit": self.limit, "side": side, "conditions": rows}


def mean_of(values: Sequence[float]) -> tuple[float | None, tuple[float, float] | None]:
    """Mean and 95 % interval; no interval for a single value, nothing for none."""
    return mean_interval(values) or (values[0] if values else None, None)


def tried(report: Report) -> list[Tried]:
    """Everything that was tried, in the order of the paper."""
    return [*_single_queries(report), *_linear(report), *(one for name in SETTINGS for one in _setting(report, name))]


# -- reading the report --------------------------------------------------------------------------------------------


def per_unit(seeds: Sequence[Report], value: Callable[[Report], Sequence[float]]) -> list[float]:
    """Mean over places of each seed where there are three seeds or more, else every place's value."""
    by_seed = [list(value(seed)) for seed in seeds]
    if len(by_seed) >= 3:
        return [sum(values) / len(values) for values in by_seed]
    return [one for values in by_seed for one in values]


def kept(seeds: Sequence[Report], rows: Callable[[Report], Sequence[Mapping[str, float]]]) -> list[float]:
    """Share of what the context achieves, by unit; a seed's share is a ratio of means over its places."""

    def parts(seed: Report) -> list[tuple[float, float]]:
        found = zip(seed["without"], rows(seed), seed["in context"], strict=True)
        return [(bare["error"] - now["error"], bare["error"] - full["error"]) for bare, now, full in found]

    if len(seeds) >= 3:
        return [sum(a for a, _ in parts(seed)) / sum(b for _, b in parts(seed)) for seed in seeds]
    return [a / b for seed in seeds for a, b in parts(seed) if b]


def find(rows: Sequence[Report], **knobs: Any) -> Report:
    """The one row with these values."""
    (row,) = (row for row in rows if all(row[name] == value for name, value in knobs.items()))
    return row


def _single_queries(report: Report) -> Iterator[Tried]:
    families, settings = report["families"], report["settings"]
    trained = {name: [row for seed in seeds for row in seed["per query"]] for name, seeds in settings.items()}
    every = {**families, **trained}

    def conditions(name: str, among: Mapping[str, Sequence[Report]] = every) -> list[Condition]:
        return [Condition(where, [row[name] for row in rows]) for where, rows in among.items()]

    # A context that changes nothing would be reproduced by no patch at all.
    exact = [
        Condition(where, [row["error"] if row["unpatched"] > 100 * TOLERANCE else float("inf") for row in rows])
        for where, rows in every.items()
    ]
    yield Tried(
        "exact",
        "synde.txt 2.2",
        "Context is literally a change of weights: the query alone, under its update, gives the same logits",
        exact,
        TOLERANCE,
        is_upper=True,
        is_exact=True,
    )
    yield Tried(
        "first_matrix",
        "synde.txt 1.1",
        "Context writes into the MLP's first matrix: share of its effect that this patch alone leaves missing",
        conditions("first_only", families),
        LITTLE,
        is_upper=True,
    )
    yield Tried(
        "rank",
        "synde.txt 2.2, A.1",
        "The update is dominated by rank 1: for one query there is no second singular value",
        conditions("second_singular_value"),
        RANK_TOLERANCE,
        is_upper=True,
        is_exact=True,
    )
    yield Tried(
        "one_update",
        "synde.txt 2.2",
        "W_effective belongs to the context: the update of one query serves another "
        "(share of the effect that it misses)",
        conditions("wrong_query", trained),
        LITTLE,
        is_upper=True,
    )
    halves = {name: rows for name, rows in trained.items() if rows and "halves_apart" in rows[0]}
    linear = Condition("linear attention", [row["additive"] for row in report["linear"]])
    yield Tried(
        "contexts_add",
        "synde.txt 12.2",
        "Updates of contexts are additive: two halves sum to the whole (relative distance)",
        [*conditions("halves_apart", halves), linear],
        LITTLE,
        is_upper=True,
    )


def _linear(report: Report) -> Iterator[Tried]:
    rows = report["linear"]

    def condition(name: str, what: str) -> Condition:
        return Condition(what, [row[name] for row in rows])

    yield Tried(
        "linear_exact",
        "synde.txt 9.1 RQ1",
        "Linear attention: |dW_ICL - dW| < 0.01 for one step of gradient descent",
        [condition("least_squares", "full step"), condition("aligned", "LoRA, A along the gradient")],
        FLOAT64,
        is_upper=True,
        is_exact=True,
    )
    yield Tried(
        "linear_converged",
        "synde.txt 7.1, theorem 1",
        "Linear attention: gradient descent on the same examples converges to the update of the context",
        [condition("converged", "trained to convergence")],
        PAPERS_DISTANCE,
        is_upper=True,
    )
    yield Tried(
        "linear_mean",
        "ours (control)",
        "Linear attention: the mean of the queries' updates is the patch (relative)",
        [condition("mean", "mean of updates")],
        LITTLE,
        is_upper=True,
    )


def _setting(report: Report, setting: str) -> Iterator[Tried]:
    seeds = report["settings"].get(setting)
    if not seeds:
        return
    key = setting.rsplit(" ", 1)[-1]
    adapters = [(row["recipe"], row["target"]) for row in seeds[0]["adapters"]]
    literal = [one for one in adapters if "6.4" in one[0]]
    able = [one for one in adapters if one not in literal]

    def of_adapter(value: Callable[[Report], list[float]], among: Sequence[tuple[str, str]]) -> list[Condition]:
        def read(recipe: str, target: str) -> list[float]:
            return per_unit(seeds, lambda seed: value(find(seed["adapters"], recipe=recipe, target=target)))

        return [Condition(f"{recipe}, {target}", read(recipe, target)) for recipe, target in among]

    def kept_by(recipe: str, target: str) -> Condition:
        values = kept(seeds, lambda seed: find(seed["adapters"], recipe=recipe, target=target)["rows"])
        return Condition(f"{recipe}, {target}", values)

    def patched(target: str) -> Condition:
        values = kept(seeds, lambda seed: find(seed["patches"], target=target, rank=1)["rows"])
        return Condition(f"static patch, {target}", values)

    static = [patched(target) for target in ("mlp", "attention", "first", "down")]
    yield Tried(
        f"rank1.{key}",
        "synde.txt 2.3, 9.2",
        f"Rank 1 is sufficient ({setting}): share of what the context achieves",
        [*static, *(kept_by(*one) for one in able)],
        MOST,
    )
    yield Tried(
        f"distance.{key}",
        "synde.txt 9.1 RQ1, 7.1 theorem 1",
        f"|dW_ICL - dW_LoRA|_F < 0.01 ({setting})",
        of_adapter(lambda row: [one["frobenius"] for one in row["to_patch"]], adapters),
        PAPERS_DISTANCE,
        is_upper=True,
    )
    yield Tried(
        f"seeds.{key}",
        "ours (floor)",
        f"Two LoRA trainings that differ in seed lie within 0.01 of each other ({setting})",
        of_adapter(lambda row: [one["frobenius"] for one in row["to_other_seed"]], able),
        PAPERS_DISTANCE,
        is_upper=True,
    )
    yield Tried(
        f"agreement.{key}",
        "synde.txt 13.1",
        f"LoRA and context do the same ({setting}): agreement of their answers",
        of_adapter(lambda row: [one["agreement"] for one in row["rows"]], able),
        MOST,
    )
    if literal:
        yield Tried(
            f"recipe.{key}",
            "synde.txt 6.4",
            f"One epoch at 1e-4 makes the context permanent ({setting}): share kept",
            [kept_by(*one) for one in literal],
            MOST,
        )
    yield from _composition(seeds, setting, key)


def _composition(seeds: Sequence[Report], setting: str, key: str) -> Iterator[Tried]:
    names = sorted((row["what"] for row in seeds[0]["composition"]), key=lambda name: name.startswith("static"))
    names = [name for name in names if "6.4" not in name]

    def rows(name: str) -> Callable[[Report], Sequence[Mapping[str, float]]]:
        return lambda seed: find(seed["composition"], what=name)["rows"]

    def ratio(name: str) -> list[float]:
        """After over before: what is left of an update's own gain once the other one is added."""
        own = kept(seeds, lambda seed: [{"error": row["own"]} for row in rows(name)(seed)])
        return [both / alone if alone > 0 else 0.0 for both, alone in zip(kept(seeds, rows(name)), own, strict=True)]

    def cosines(name: str) -> list[float]:
        return per_unit(seeds, lambda seed: [abs(row["cosine"]) for row in rows(name)(seed)])

    yield Tried(
        f"adds.{key}",
        "synde.txt 7.3, theorem 3",
        f"Adapters combine additively ({setting}): share of its own gain that each keeps when another is added",
        [Condition(name, ratio(name)) for name in names],
        MOST,
    )
    yield Tried(
        f"orthogonal.{key}",
        "synde.txt 7.3",
        f"Tasks contribute orthogonal capabilities ({setting}): |cosine| of two updates",
        [Condition(name, cosines(name)) for name in names],
        LITTLE,
        is_upper=True,
    )

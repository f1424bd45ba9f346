"""The paper's sentences, what was measured of each, and from which limit on it counts as true.

A claim is tried under several conditions (families, targets, ways to train); how a verdict follows is in `tried`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from synde_pipeline.studies.mechanism.reading import Report, cosines, find, kept, per_unit
from synde_pipeline.studies.mechanism.tried import Condition, Tried

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


def tried(report: Report) -> list[Tried]:
    """Everything that was tried, in the order of the paper."""
    return [
        *_single_queries(report),
        *_linear(report),
        *(one for name in report["settings"] for one in _setting(report, name)),
    ]


def _single_queries(report: Report) -> Iterator[Tried]:
    families, settings = report["families"], report["settings"]
    trained = {name: [row for seed in seeds for row in seed["per query"]] for name, seeds in settings.items()}
    every = {**families, **trained}

    def conditions(name: str, among: Mapping[str, Sequence[Report]] = every) -> list[Condition]:
        return [Condition(where, [row[name] for row in rows]) for where, rows in among.items()]

    def by_unit(name: str) -> list[Condition]:
        return [
            Condition(where, per_unit(seeds, lambda seed: [row[name] for row in seed["per query"]]))
            for where, seeds in settings.items()
            if name in seeds[0]["per query"][0]
        ]

    over_families = [
        sum(row["first_only"] for row in rows) / len(rows) for rows in zip(*families.values(), strict=True)
    ]
    # A context that changes nothing would be reproduced by no patch at all: then nothing is shown, and it counts as 1.
    exact = [
        Condition(where, [row["error"] if row["unpatched"] > 10 * TOLERANCE else 1.0 for row in rows])
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
        [Condition("mean over families", over_families), *conditions("first_only", families)],
        LITTLE,
        is_upper=True,
    )
    yield Tried(
        "rank",
        "synde.txt 2.2, A.1",
        "The update that a context makes for one query has rank 1: there is no second singular value",
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
        by_unit("wrong_query"),
        LITTLE,
        is_upper=True,
        is_identity=True,
    )
    linear = Condition("linear attention", [row["additive"] for row in report["linear"]])
    yield Tried(
        "contexts_add",
        "synde.txt 12.2",
        "Updates of contexts are additive: two halves sum to the whole (relative distance)",
        [*by_unit("halves_apart"), linear],
        LITTLE,
        is_upper=True,
        is_identity=True,
    )


def _linear(report: Report) -> Iterator[Tried]:
    rows = report["linear"]

    def condition(name: str, what: str) -> Condition:
        return Condition(what, [row[name] for row in rows])

    yield Tried(
        "linear_exact",
        "ours",
        "Linear attention: one full step of gradient descent is the update of the context",
        [condition("least_squares", "full step"), condition("aligned", "LoRA, A along the gradient")],
        FLOAT64,
        is_upper=True,
        is_exact=True,
    )
    yield Tried(
        "linear_converged",
        "synde.txt 7.1",
        "Linear attention: gradient descent on the same examples converges to the update of the context",
        [condition("converged", "trained to convergence")],
        PAPERS_DISTANCE,
        is_upper=True,
        is_identity=True,
    )
    yield Tried(
        "linear_mean",
        "ours",
        "Linear attention: the mean of the queries' updates is the patch (relative)",
        [condition("mean", "mean of updates")],
        LITTLE,
        is_upper=True,
    )


def _setting(report: Report, setting: str) -> Iterator[Tried]:
    seeds = report["settings"][setting]
    key = setting.rsplit(" ", 1)[-1]
    adapters = [(row["recipe"], row["target"]) for row in seeds[0]["adapters"]]
    literal = [one for one in adapters if "6.4" in one[0]]
    able = [one for one in adapters if one not in literal]

    def of_adapter(
        value: Callable[[Report], list[float]], among: Sequence[tuple[str, str]], what: str = ""
    ) -> list[Condition]:
        def read(recipe: str, target: str) -> list[float]:
            return per_unit(seeds, lambda seed: value(find(seed["adapters"], recipe=recipe, target=target)))

        return [Condition(f"{recipe}, {target}{what}", read(recipe, target)) for recipe, target in among]

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
        "synde.txt 9.1, RQ1, 7.1",
        f"|dW_ICL - dW_LoRA|_F < 0.01 ({setting})",
        [
            *of_adapter(lambda row: [one["frobenius"] for one in row["to_patch"]], adapters),
            *of_adapter(
                lambda row: [one["frobenius"] for one in row["to_nearest_query"]], adapters, " (nearest query)"
            ),
        ],
        PAPERS_DISTANCE,
        is_upper=True,
        is_identity=True,
    )
    yield Tried(
        f"seeds.{key}",
        "ours",
        f"Two LoRA trainings that differ in seed lie within 0.01 of each other ({setting})",
        of_adapter(lambda row: [one["frobenius"] for one in row["to_other_seed"]], able),
        PAPERS_DISTANCE,
        is_upper=True,
        is_identity=True,
    )
    yield Tried(
        f"agreement.{key}",
        "synde.txt 6.1, 13.2",
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

    def sizes(name: str) -> list[float]:
        return per_unit(seeds, lambda seed: [abs(value) for value in cosines(rows(name)(seed))])

    yield Tried(
        f"adds.{key}",
        "synde.txt 7.3",
        f"Adapters combine additively ({setting}): share of its own gain that each keeps when another is added",
        [Condition(name, ratio(name)) for name in names],
        MOST,
    )
    yield Tried(
        f"orthogonal.{key}",
        "synde.txt 7.3",
        f"Tasks contribute orthogonal capabilities ({setting}): |cosine| of two updates",
        [Condition(name, sizes(name)) for name in names],
        LITTLE,
        is_upper=True,
    )

"""Knobs of the slow layer one at a time: rank, failures, objective, replay, and how often is trained and merged.

All variants learn from the same logs of the same laboratories at equal steps and act on the same tasks; each domain has
one adapter. Momentum of the notes is in the study `notes`, ways to compose in `composition`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from synde_pipeline.base_model import load, one_thread
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.scribe import scribe_of
from synde_pipeline.studies.labs import lived
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.trials import (
    Sums,
    act,
    adapters_of,
    as_json,
    days,
    from_json,
    gain,
    over,
    rows_by_domain,
    seeds,
    training,
    what,
)
from synde_pipeline.studies.verdicts import against, together
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.base_replay import with_base
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import ShardRow
from synde_pipeline.training.train import fit

FIRST = "rank 1, all defaults"
ITEMS = 3
CHUNKS = 4
"""Trainings that the same logs are cut into, in the order of their days."""
ENOUGH = -0.05
"""Loss of success up to which a smaller choice counts as enough."""
Rows = dict[str, list[ShardRow]]
Learn = Callable[[Laboratory, StudyRun], Any]
"""Makes what acts: adapters by domain, or a merged model."""


def knobs(run: StudyRun) -> dict[str, dict[str, Any]]:
    """Variant -> what differs from the default training."""
    every: dict[str, dict[str, Any]] = {
        FIRST: {},
        **{f"rank {rank}": {"rank": rank} for rank in (2, 4, 8, 16)},
        "failures weigh as much as successes": {"weight_failure": 1.0},
        "failures masked": {"failures": "masked"},
        "failures by NPO": {"failures": "npo"},
        "failures negated (as printed)": {"failures": "negated", "allow_negated": True},
        "imitation": {"objective": "imitation"},
        "context distillation": {"objective": "context_distillation"},
        "from memory": {"objective": "from_memory"},
        "20 % of the base's data": {"base_replay": 0.2},
    }
    quick = (FIRST, "rank 4", "failures negated (as printed)", "imitation")
    return {name: every[name] for name in quick} if run.is_quick else every


def study(run: StudyRun) -> Sequence[Claim]:
    """Train every variant, act, compare with the defaults."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds(run):
        laboratory, _ = lived(run, seed, days(run))
        ways: dict[str, Learn] = {name: _with(changed) for name, changed in knobs(run).items()}
        ways |= {
            f"trained {CHUNKS} times, merged each time": _merged,
            f"trained {CHUNKS} times, one adapter": _continued,
        }
        for name, learn in ways.items():
            key = {"seed": seed, "days": days(run), "way": name, "config": training(run).model_dump()}
            cells = run.part(key, lambda lab=laboratory, learn=learn: _cells(lab, learn(lab, run)))
            found.setdefault(name, []).append(cells)
    run.numbers["ways"] = found
    _show(run, found)
    return _claims(run, found)


def _cells(laboratory: Laboratory, learned: Any) -> dict[str, Any]:
    with one_thread():
        words: dict[str, Any] = {"model": learned}
        if isinstance(learned, dict):
            order = {domain: k for k, domain in enumerate(learned)}
            routes = [order.get(task.place.world.domain, -1) for task in laboratory.tasks]
            words = {"adapters": (list(learned.values()), routes)}
        return {
            "weights": as_json(act(laboratory, laboratory.tasks, **words)),
            "dual": as_json(act(laboratory, laboratory.tasks, items=ITEMS, **words)),
        }


def _with(changed: dict[str, Any]) -> Learn:
    def learn(laboratory: Laboratory, run: StudyRun) -> dict[str, AdapterWeights]:
        config, lab = training(run, **changed), laboratory.lab
        assert lab.settings.simulation is not None  # noqa: S101 - a laboratory
        rows = rows_by_domain(laboratory, config, scribe_of(lab.settings.simulation))
        data = CorpusData(lab.base.tokenizer, lab.encoder)
        groups = [with_base(mine, data, config.base_replay, domain) for domain, mine in rows.items()]
        with one_thread():
            return dict(zip(rows, adapters_of(lab.base.model, groups, config), strict=True))

    return learn


def chunks(rows: Sequence[ShardRow], n: int = CHUNKS) -> list[list[ShardRow]]:
    """Rows by their trajectories' ids, which begin with the day, in n parts of nearly equal length."""
    ordered = sorted(rows, key=lambda row: row["trace_uid"])
    bounds = [round(k * len(ordered) / n) for k in range(n + 1)]
    return [ordered[start:end] for start, end in pairwise(bounds)]


def _parts(laboratory: Laboratory, run: StudyRun) -> tuple[dict[str, list[list[ShardRow]]], Any]:
    config = training(run)
    short = config.model_copy(update={"max_steps": max(1, (config.max_steps or 1) // CHUNKS)})
    return {domain: chunks(rows) for domain, rows in rows_by_domain(laboratory, config).items()}, short


def _merged(laboratory: Laboratory, run: StudyRun) -> dict[str, AdapterWeights] | Any:
    """Continuous merging: every chunk's adapter is merged before the next one is trained. One model a domain."""
    parts, config = _parts(laboratory, run)
    model = load(laboratory.lab.warehouse).model
    with one_thread():
        for number in range(CHUNKS):
            for domain in parts:
                add_adapters(model, [(adapters_of(model, [parts[domain][number]], config)[0], 1.0)])
    return model


def _continued(laboratory: Laboratory, run: StudyRun) -> dict[str, AdapterWeights]:
    """Periodic merging: one adapter goes on learning chunk by chunk, and is merged in the end, if at all."""
    parts, config = _parts(laboratory, run)
    base = load(laboratory.lab.warehouse)
    found = {}
    with one_thread():
        for domain, mine in parts.items():
            bank = AdapterBank.fresh(base.model, 1, config)
            for rows in mine:
                fit(bank, base.model, [rows], config)
            found[domain] = bank.weights(0)
            bank.remove()
    return found


# -- what it says ----------------------------------------------------------------------------------------------------


def _runs(found: dict[str, list[dict[str, Any]]], way: str, cell: str) -> list[Sums]:
    return [from_json(one[cell]) for one in found[way]]


def _difference(found: dict[str, list[dict[str, Any]]], way: str, other: str, cell: str = "weights") -> dict[str, Any]:
    return gain(list(zip(_runs(found, way, cell), _runs(found, other, cell), strict=True)))


def _claims(run: StudyRun, found: dict[str, list[dict[str, Any]]]) -> list[Claim]:
    merged, continued = list(found)[-2:]
    said = [
        ("rank", "synde.txt 6.1", "Rank 1 is enough: larger ranks gain nothing", FIRST, "rank 4", ENOUGH),
        ("negated", "synde.txt 6.3", "A negated loss on failures teaches more than reading them",
         "failures negated (as printed)", FIRST, 0.0),
        ("masked", "ours", "Unlikelihood on failures beats masking them", FIRST, "failures masked", 0.0),
        ("weight", "synde.txt 6.3", "Failures should weigh twice as much", FIRST,
         "failures weigh as much as successes", 0.0),
        ("distillation", "ours", "Context distillation beats imitation with dropped memory", "context distillation",
         FIRST, 0.0),
        ("from_memory", "ours", "Memory alone, without logs, teaches as much as logs", "from memory", FIRST, ENOUGH),
        ("replay", "synde.txt 8.3", "A fifth of the base's data costs nothing",
         "20 % of the base's data", FIRST, ENOUGH),
        ("buffer", "synde.txt 8.2", "Training once on a full buffer beats training at once on small parts",
         FIRST, continued, 0.0),
        ("merging", "synde.txt 8.2", "Merging after every training loses nothing against one adapter that goes on",
         merged, continued, ENOUGH),
    ]  # fmt: skip
    claims = []
    for name, source, text, new, old, threshold in said:
        if new in found and old in found:
            one = _difference(found, new, old)
            verdict, words = against(one["error"], threshold), what(run, f"success by weights: {new} minus {old}")
            claims.append(run.claim(name, source, text, **one, verdict=verdict, what=words))
    both = [against(_difference(found, FIRST, w, c)["error"], ENOUGH) for w in found for c in ("weights", "dual")]
    worst = min((_difference(found, FIRST, way) for way in found if way != FIRST), key=lambda one: one["measured"])
    claims.append(
        run.claim(
            "defaults", "ours", "No other choice beats the defaults by more than .05, with memory or without",
            **worst, verdict=together(both), what=what(run, "smallest gain of the defaults over another choice"),
        )
    )  # fmt: skip
    return claims


def _show(run: StudyRun, found: dict[str, list[dict[str, Any]]]) -> None:
    rows = []
    for way in found:
        row: dict[str, Any] = {"variant": way}
        for cell in ("weights", "dual"):
            one, against_first = over(_runs(found, way, cell)), _difference(found, way, FIRST, cell)
            row |= {cell: one["measured"], f"{cell}, 95 %": one["error"]}
            row |= {f"{cell} against defaults": against_first["measured"], f"{cell}, its 95 %": against_first["error"]}
        rows.append(row)
    run.show("Variants", f"Success without memory and with {ITEMS} items; one adapter a domain.", rows=rows)

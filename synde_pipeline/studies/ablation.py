"""Knobs of the slow layer one at a time: rank, failures, objective, replay, and how often is trained and merged.

All variants learn from the same logs of the same laboratories at equal steps and act on the same tasks; each domain has
one adapter. Momentum of the notes is in the study `notes`, ways to compose in `composition`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from synde_pipeline.base_model import load
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.scribe import scribe_of
from synde_pipeline.studies.learning import adapters_of, rows_by_domain, training
from synde_pipeline.studies.paired import Arms, inside
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against, together
from synde_pipeline.studies.ways import ITEMS, Tried, Way, acted, gained, known_places, levels, tried
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.base_replay import with_base
from synde_pipeline.training.shards import ShardRow
from synde_pipeline.training.train import fit

FIRST = "rank 1, all defaults"
RANKS = (2, 4, 8, 16)
CHUNKS = 4
"""Trainings that the same logs are cut into, in the order of their days."""
MERGED = f"trained {CHUNKS} times, merged each time"
CONTINUED = f"trained {CHUNKS} times, one adapter"
ENOUGH = -0.05
"""Loss of success up to which a smaller choice counts as enough."""


def knobs(run: StudyRun) -> dict[str, dict[str, Any]]:
    """Variant -> what differs from the default training."""
    every: dict[str, dict[str, Any]] = {
        FIRST: {},
        **{f"rank {rank}": {"rank": rank} for rank in RANKS},
        **{f"training seed {seed}": {"seed": seed} for seed in (1, 2)},
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
    found = tried(
        run,
        {
            **{name: _with(run, changed) for name, changed in knobs(run).items()},
            MERGED: lambda mine: _merged(mine, run),
            CONTINUED: lambda mine: _continued(mine, run),
        },
    )
    rows = levels(found, "variant")
    for row in rows:
        for cell in found[FIRST][0]:
            one = gained(found, row["variant"], FIRST, cell)
            row |= {f"{cell} against defaults": one.value, f"{cell}, its 95 %": one.interval}
    run.show("Variants", f"Success without memory and with {ITEMS} items; one adapter a domain.", rows=rows)
    return _claims(run, found)


def _with(run: StudyRun, changed: dict[str, Any]) -> Way:
    config = training(run, **changed)

    def way(mine: Laboratory) -> Arms:
        lab = mine.lab
        data = CorpusData(lab.base.tokenizer, lab.encoder)
        rows = rows_by_domain(mine, config, scribe_of(mine.config))
        factor = config.weight_failure / lab.settings.training.weight_failure
        rows = {domain: [weighed(row, factor) for row in own] for domain, own in rows.items()}
        groups = {domain: with_base(own, data, config.base_replay, domain) for domain, own in rows.items()}
        return acted(mine, known_places(mine), adapters_of(lab.base.model, groups, config))

    return way


def weighed(row: ShardRow, factor: float) -> ShardRow:
    """A sequence whose avoided tokens weigh more or less: published examples carry the weights of their time."""
    weights = [weight * factor if avoid else weight for weight, avoid in zip(row["weights"], row["avoid"], strict=True)]
    return {**row, "weights": weights}


def chunks(rows: Sequence[ShardRow], n: int = CHUNKS) -> list[list[ShardRow]]:
    """Rows by their trajectories' ids, which begin with the day, in n parts of nearly equal length."""
    ordered = sorted(rows, key=lambda row: row["trace_uid"])
    bounds = [round(k * len(ordered) / n) for k in range(n + 1)]
    return [ordered[start:end] for start, end in pairwise(bounds)]


def _parts(mine: Laboratory, run: StudyRun) -> tuple[dict[str, list[list[ShardRow]]], Any]:
    config = training(run)
    short = config.model_copy(update={"max_steps": max(1, (config.max_steps or 1) // CHUNKS)})
    return {domain: chunks(rows) for domain, rows in rows_by_domain(mine, config).items()}, short


def _merged(mine: Laboratory, run: StudyRun) -> Arms:
    """Continuous merging: every chunk's adapter is merged before the next one is trained. One model for all domains."""
    parts, config = _parts(mine, run)
    model = load(mine.lab.warehouse).model
    for number in range(CHUNKS):
        for domain, rows in parts.items():
            add_adapters(model, [(adapters_of(model, {domain: rows[number]}, config)[domain], 1.0)])
    return acted(mine, known_places(mine), model=model)


def _continued(mine: Laboratory, run: StudyRun) -> Arms:
    """Periodic merging: one adapter goes on learning chunk by chunk, and is merged in the end, if at all."""
    parts, config = _parts(mine, run)
    base = load(mine.lab.warehouse)
    found = {}
    for domain, each in parts.items():
        bank = AdapterBank.fresh(base.model, 1, config)
        for rows in each:
            fit(bank, base.model, [rows], config)
        found[domain] = bank.weights(0)
        bank.remove()
    return acted(mine, known_places(mine), found)


def _claims(run: StudyRun, found: Tried) -> list[Claim]:
    said = [
        *(
            (f"rank_{rank}", "synde.txt 2.3, 9.4", f"Rank 1 is enough: rank {rank} gains less than .05",
             FIRST, f"rank {rank}", ENOUGH)
            for rank in RANKS
        ),
        ("negated", "synde.txt 6.3", "A negated loss on failures teaches more than unlikelihood",
         "failures negated (as printed)", FIRST, 0.0),
        ("masked", "ours", "Unlikelihood on failures beats masking them", FIRST, "failures masked", 0.0),
        ("weight", "synde.txt 6.3, 9.4", "Failures should weigh twice as much (in unlikelihood)", FIRST,
         "failures weigh as much as successes", 0.0),
        ("distillation", "ours", "Context distillation beats imitation with dropped memory", "context distillation",
         FIRST, 0.0),
        ("from_memory", "ours", "Memory alone, without logs, teaches as much as logs", "from memory", FIRST, ENOUGH),
        ("replay", "ours", "A fifth of the base's data costs nothing",
         "20 % of the base's data", FIRST, ENOUGH),
        ("buffer", "synde.txt 8.2, 9.4", "Training once on a full buffer beats training at once on small parts",
         FIRST, CONTINUED, 0.0),
        ("merging", "synde.txt 8.2, 9.4", "Merging after every training loses nothing against one adapter that goes on",
         MERGED, CONTINUED, ENOUGH),
    ]  # fmt: skip
    claims = []
    for name, source, text, new, old, threshold in said:
        if new in found and old in found:
            measured = gained(found, new, old, "weights").above(threshold, f"success by weights: {new} minus {old}")
            claims.append(run.claim(name, source, text, **measured))
    for seed in (1, 2):
        if (way := f"training seed {seed}") in found:
            one = gained(found, way, FIRST, "weights")
            measured = one.claimed(inside(one.interval, ENOUGH, -ENOUGH), f"success by weights: {way} minus {FIRST}")
            text = f"Training seed {seed} comes to the same as seed 0, within {-ENOUGH}"
            claims.append(run.claim(f"seed_{seed}", "ours", text, **measured))
    both = [against(gained(found, FIRST, way, c).interval, ENOUGH) for way in found for c in ("weights", "dual")]
    leads = [gained(found, FIRST, way, "weights") for way in found if way != FIRST]
    worst = min(leads, key=lambda one: one.value or 0.0)
    text = "No other choice beats the defaults by more than .05, with memory or without"
    measured = worst.claimed(together(both), "smallest gain of the defaults over another choice")
    return [*claims, run.claim("defaults", "ours", text, **measured)]

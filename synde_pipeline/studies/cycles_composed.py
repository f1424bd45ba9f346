"""Six cycles of one domain: how adapters stand together when they are routed, merged in turn, joint, blind or summed.

Each cycle brings four new sites (`lived`); all ways have the same logs, batches and steps, and all training, routing
and merging is the pipeline's own. After the last cycle, what would be served acts on tasks that no day handed out,
without memory: on all sites, on the first cycle's and the last one's, and on new sites with every fact told (the probe
of general skill). Domains that follow each other are in `forgetting`, domains side by side in `composition`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import one_thread
from synde_pipeline.lease import lease
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.merge import merge_cycle
from synde_pipeline.models.registry import Served, promote, served_of
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.lab import NOTHING, Lab, timed
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.code import code_hash
from synde_pipeline.studies.compared import changed, show
from synde_pipeline.studies.labs import cache
from synde_pipeline.studies.learning import seeds
from synde_pipeline.studies.lived import DOMAIN, History, history
from synde_pipeline.studies.paired import SAMPLING, Arms, Sums, inside, kept
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against, together
from synde_pipeline.studies.ways import KEEPS, Tried, gained, reached
from synde_pipeline.training.daily import publish_shard

FOLDER = "study_histories"
RIGHT_AFTER, FIRST, LAST = "first cycle's sites, right after it", "first cycle's sites", "last cycle's sites"
EVERY, PROBE = "all sites", "new sites, all facts"
ROUTED, IN_TURN, PRINTED, JOINT, BLIND, SUMMED = (
    "routed", "merged in turn, with replay", "merged in turn, as printed", "joint, rank 4", "null space", "summed",
)  # fmt: skip
N_NEW = 96
"""Places behind the probe; half of them are sites."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    n_cycles: int = 6
    n_tasks: int = 240
    """On all sites, and of the probe; half as many on the sites of one cycle."""
    training: Mapping[str, int] = field(default_factory=dict)
    """What differs from preset `world` in every way."""


QUICK = Plan(2, 32, {"max_steps": 24, "batch_size": 4})


@dataclass(frozen=True)
class Way:
    """One way to compose."""

    config: TrainingConfig
    last_only: bool = False
    """Whether one adapter is trained at the end, with as many steps as all of them together."""


def ways(plan: Plan) -> dict[str, Way]:
    """The default and what it is compared with: equal logs, batches and steps."""
    world = PRESETS["world"].model_copy(update=dict(plan.training))

    def one(*, last_only: bool = False, **knobs: Any) -> Way:
        alone = {"anchors": 0.0, "scopes_per_adapter": 0, "base_replay": 0.25}
        return Way(world.model_copy(update={**alone, **knobs}), last_only)

    return {
        ROUTED: Way(world),
        IN_TURN: one(composition="sequential"),
        # Section 8.2: merge into the base, clear the buffer.
        PRINTED: one(composition="sequential", old_logs=0.0, base_replay=0.0),
        JOINT: one(composition="joint", max_steps=(world.max_steps or 0) * plan.n_cycles, last_only=True),
        BLIND: one(composition="null_space"),
        SUMMED: one(composition="independent"),
    }


def study(run: StudyRun) -> list[Claim]:
    """Live the cycles once, compose in every way, act."""
    plan = QUICK if run.is_quick else Plan()
    home = cache(run.settings.home / FOLDER, code_hash(run.name))  # how it is lived is this study's own code
    found: dict[str, list[Arms]] = {}
    for seed in seeds(run):
        trial = Trial(home / f"{plan.n_cycles}-cycles-seed-{seed}", seed, plan)
        about = {"seed": seed, "cycles": plan.n_cycles, "tasks": plan.n_tasks}
        with one_thread():
            found.setdefault("base", []).append(kept(run, {**about, "way": "base"}, trial.of_base))
            for name, way in ways(plan).items():
                key = {**about, "way": name, "training": way.config.model_dump()}
                found.setdefault(name, []).append(kept(run, key, partial(trial.composed, way)))
    text = (
        f"{len(found['base'])} histories of {plan.n_cycles} cycles with four sites each. Success without memory, with "
        "95 % intervals. Replay is 60 % old logs, then a quarter of the base's data; as printed there is none (section "
        "8.2). Joint has no adapter before the last cycle."
    )
    show(run, "Ways to compose cycles", text, found, (RIGHT_AFTER, FIRST, LAST, PROBE))
    return claimed(run, found)


@dataclass(eq=False)
class Trial:
    """A seed's history, and what every way is tried on."""

    home: Path
    seed: int
    plan: Plan

    @cached_property
    def lived(self) -> History:
        """The history, lived as far as it does not lie there."""
        with lease(self.home, "living"):
            return history(self.home, self.seed, self.plan.n_cycles)

    @cached_property
    def tasks(self) -> dict[str, list[Task]]:
        """Tasks by cell, on the day after the last one."""
        lived, n = self.lived, self.plan.n_tasks
        unseen = [place for place in new_places(lived.config, N_NEW) if place.world.domain == DOMAIN]
        where = {
            FIRST: (lived.of_cycle(1), n // 2), LAST: (lived.of_cycle(self.plan.n_cycles), n // 2),
            EVERY: (lived.sites, n), PROBE: (unseen, n),
        }  # fmt: skip
        day = day_number(lived.last_day) + 1
        return {cell: held_out_tasks(places, "report", size, day) for cell, (places, size) in where.items()}

    @cached_property
    def told(self) -> list[tuple[MemoryItem, ...]]:
        """Every fact about each task of the probe."""
        return [hints(task, GATES[1], self.lived.config.seed) for task in self.tasks[PROBE]]

    def of_base(self) -> Arms:
        """What the base does without any adapter."""
        return self._cells(self.lived, NOTHING)

    def composed(self, way: Way) -> Arms:
        """Train one way in a branch of its own, and act."""
        found: dict[str, Sums] = {}
        served: Mapping[str, Served] = NOTHING
        with self.lived.branch() as branch:
            for number, last in trained(branch, way):
                served = {DOMAIN: last}
                if number == 1:
                    found[RIGHT_AFTER] = self._sums(branch, served, FIRST)
            return {**found, **self._cells(branch, served)}

    def _cells(self, branch: History, served: Mapping[str, Served]) -> dict[str, Sums]:
        return {cell: self._sums(branch, served, cell) for cell in self.tasks}

    def _sums(self, branch: History, served: Mapping[str, Served], cell: str) -> Sums:
        lab, memory = Lab(branch.warehouse, branch.settings), self.told if cell == PROBE else None
        return sums_of(timed(lab.act, self.tasks[cell], memory=memory, served=served, seed=SAMPLING, label=cell))


def trained(branch: History, way: Way) -> Iterator[tuple[int, Served]]:
    """Train a branch's cycles one after the other, each accepted; yields what would be served after each."""
    warehouse, settings = branch.warehouse, branch.settings.model_copy(update={"training": way.config})
    lab = Lab(warehouse, settings)
    data = CorpusData(lab.base.tokenizer, lab.encoder)
    for cycle in branch.cycles[-1:] if way.last_only else branch.cycles:
        publish_shard(warehouse, cycle, settings)
        train_cycle(warehouse, cycle, way.config, data)
        model = merge_cycle(warehouse, cycle)
        promote(warehouse, cycle, model, "the study accepts every cycle")
        yield cycle.number, served_of(model)


# -- what it says ---------------------------------------------------------------------------------------------------

KEEPING = (
    ("routed", "ours", "Routed adapters keep the first cycle's sites", ROUTED),
    ("in_turn", "synde.txt 8.2, 8.3", "Merged in turn, with replay, adapters keep the first cycle's sites", IN_TURN),
    ("printed", "synde.txt 8.2", "Merged in turn, buffer cleared, adapters keep the first cycle's sites", PRINTED),
    ("null_space", "ours", "Adapters that are blind to old inputs keep the first cycle's sites", BLIND),
    ("summed", "synde.txt 7.3, 12.2", "Summed, adapters of several cycles keep the first cycle's sites", SUMMED),
)  # fmt: skip
"""Claim, source, sentence, way."""


def claimed(run: StudyRun, found: Tried) -> list[Claim]:
    """What runs by way and cell say."""
    return [*_keeping(run, found), *_against_routed(run, found), _general(run, found)]


def _keeping(run: StudyRun, found: Tried) -> list[Claim]:
    claims = []
    for name, source, claim, way in KEEPING:
        left = changed(found, way, RIGHT_AFTER, FIRST)
        what = f"success at the first cycle's sites after the last cycle, less right after the first; {KEEPS} is borne"
        claims.append(run.claim(name, source, claim, **left.claimed(against(left.interval, KEEPS), what)))
    return claims


def _against_routed(run: StudyRun, found: Tried) -> list[Claim]:
    joint = gained(found, JOINT, ROUTED, EVERY)
    verdict = inside(joint.interval, KEEPS, -KEEPS)
    what = f"success on all sites, joint less routed; within {-KEEPS} counts as equal"
    claims = [run.claim("joint", "ours", "One joint adapter equals routed ones", **joint.claimed(verdict, what))]
    said = (
        ("skills", "synde.txt 7.3, 12.2", "Summed adapters have all skills that routed ones have", SUMMED, EVERY),
        ("in_turn_learns", "ours", "Merged in turn, with replay, the last cycle is learned as well as routed", IN_TURN,
         LAST),
        ("null_space_learns", "ours", "Blind to old inputs, the last cycle is learned as well as routed", BLIND, LAST),
    )  # fmt: skip
    for name, source, claim, way, cell in said:
        lead = gained(found, way, ROUTED, cell)
        what = f"success on {cell}, {way} less routed; {KEEPS} is borne"
        claims.append(run.claim(name, source, claim, **lead.claimed(against(lead.interval, KEEPS), what)))
    return claims


def _general(run: StudyRun, found: Tried) -> Claim:
    one_model: Sequence[str] = (IN_TURN, PRINTED, JOINT, BLIND, SUMMED)
    lost = {way: gained(found, way, "base", PROBE) for way in one_model}
    worst = min(lost.values(), key=lambda one: one.interval[0] if one.interval else 0.0)
    said = ", ".join(f"{way}: {one.text}" for way, one in lost.items())
    what = (
        f"success on new sites with every fact told, the least of these less the base; {KEEPS} is borne ({said}); "
        f"routed, where no new site gets an adapter, {reached(found, ROUTED, PROBE).text}"
    )
    verdict = together([against(one.interval, KEEPS) for one in lost.values()])
    claim = "One model that holds all cycles keeps the base's general skill"
    return run.claim("general", "synde.txt 8.2, 8.3", claim, **worst.claimed(verdict, what))

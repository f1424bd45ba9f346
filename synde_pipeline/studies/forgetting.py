"""Continual learning: web, code and math learned one after the other; what keeps the first, and what does that cost?

Each domain's adapter is trained on all that the domain's latest cycle holds and merged before the next one is trained,
with equal steps and batches for every guard. Success is without memory, on known places; the probe of general skill is
new places with every fact told. "A fifth of original training data" (section 8.3) is read both ways: old logs, and the
base's own corpus. Ways to guard are in `guards`; six cycles of one domain are in `cycles_composed`.
"""

from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

from synde_pipeline.base_model import load, one_thread
from synde_pipeline.models.compose import add_adapters
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places, places
from synde_pipeline.simulation.worlds.base import Task
from synde_pipeline.studies.compared import changed, show
from synde_pipeline.studies.guards import METHODS, Method, Past
from synde_pipeline.studies.labs import lived, n_tasks
from synde_pipeline.studies.learning import days, rows_by_domain, seeds, training
from synde_pipeline.studies.paired import Arms, Sums, act, kept
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import against, all_of
from synde_pipeline.studies.ways import KEEPS, Tried, gained, reached
from synde_pipeline.studies.worlds import Laboratory
from synde_pipeline.training.base_replay import with_base
from synde_pipeline.training.lora import AdapterWeights
from synde_pipeline.training.shards import ShardRow
from synde_pipeline.training.train import train

ORDER = ("web", "code", "math")
RIGHT_AFTER, AT_THE_END, LAST = "web after web", "web after math", "math after math"
EVERY, PROBE = "every domain", "new places, all facts"
N_NEW_PLACES = 24
STEPS = 100
"""Of each adapter, as when the guards' strengths were chosen."""
QUICK = ("nothing", "old logs 20 %", "EWC, K-FAC", "old logs 20 % and EWC, K-FAC")
CLAIMED = {
    "old logs 20 %": ("replay", "synde.txt 8.3", "a replay buffer of 20 % old logs"),
    "old logs 60 %": ("replay_60", "ours", "a replay buffer of 60 % old logs"),
    "base's data 20 %": ("base_data", "synde.txt 8.3", "20 % of the base's own training data mixed in"),
    "EWC, diagonal": ("ewc_diagonal", "synde.txt 8.3", "elastic weight consolidation (diagonal)"),
    "EWC, K-FAC": ("ewc_kfac", "synde.txt 8.3", "elastic weight consolidation (K-FAC)"),
    "L2 on delta W": ("l2", "ours", "an equal price on all weights"),
    "null space": ("null_space", "ours", "staying blind to old inputs"),
    "leak penalty": ("leak", "ours", "a price on what old inputs see of it"),
    "old logs 20 % and EWC, K-FAC": ("both", "synde.txt 8.3", "20 % old logs and EWC (K-FAC) together"),
}
"""Guard -> a claim's id, who says that it guards, and its name in the claim."""


def study(run: StudyRun) -> list[Claim]:
    """Learn under every guard, act, compare."""
    found: dict[str, list[Arms]] = {}
    for seed in seeds(run):
        mine, _ = lived(run, seed, days(run))
        bench = Bench(mine, recipe(run), n_tasks(run) // 2)
        ways = {name: METHODS[name] for name in (QUICK if run.is_quick else METHODS)}
        about = {"seed": seed, "days": days(run), "training": bench.config.model_dump(), "tasks": bench.n_tasks}
        with one_thread():
            found.setdefault("base", []).append(kept(run, {**about, "method": None}, bench.of_base))
            for name, method in ways.items():
                part = kept(run, {**about, "method": asdict(method)}, partial(bench.learned, method))
                found.setdefault(name, []).append(part)
    _show(run, found)
    return claimed(run, found)


def recipe(run: StudyRun) -> TrainingConfig:
    """How each adapter is trained; quick is too short to learn much."""
    return training(run) if run.is_quick else training(run, max_steps=STEPS)


@dataclass(eq=False)
class Bench:
    """One laboratory: its logs by domain, and the tasks that every guard is tried on."""

    mine: Laboratory
    config: TrainingConfig
    n_tasks: int
    """Of each domain, and of the probe."""
    first: dict[float, AdapterWeights] = field(default_factory=dict)
    """Share of the base's data -> the first domain's adapter: no guard has anything to keep yet."""

    @cached_property
    def rows(self) -> dict[str, list[ShardRow]]:
        """Training sequences by domain."""
        return rows_by_domain(self.mine)

    @cached_property
    def tasks(self) -> dict[str, list[Task]]:
        """Tasks on known places, by domain."""
        day = day_number(self.mine.last_day)
        known = places(self.mine.config, day)
        by_domain = {domain: [place for place in known if place.world.domain == domain] for domain in ORDER}
        return {domain: held_out_tasks(where, "report", self.n_tasks, day + 1) for domain, where in by_domain.items()}

    @cached_property
    def probe(self) -> tuple[list[Task], list[tuple[MemoryItem, ...]]]:
        """Tasks on new places, and every fact about each."""
        config, day = self.mine.config, day_number(self.mine.last_day)
        tasks = held_out_tasks(new_places(config, N_NEW_PLACES), "report", self.n_tasks, day + 1)
        return tasks, [hints(task, GATES[1], config.seed) for task in tasks]

    def of_base(self) -> Arms:
        """What the base does, in the cells of models that have learned all domains."""
        model = self.mine.lab.base.model
        return self._in_the_end(model, {domain: self._sums(model, domain) for domain in ORDER})

    def learned(self, method: Method) -> Arms:
        """All domains in turn under a guard; after each, success on those that were learned so far."""
        model, past = load(self.mine.lab.warehouse).model, Past()
        found, now = {}, {}
        for domain in ORDER:
            if past.rows or method.base not in self.first:
                adapter = self._trained(model, domain, method, past)
                self.first.setdefault(method.base, adapter)
            else:
                adapter = self.first[method.base]
            add_adapters(model, [(adapter, 1.0)])
            past.learn(model, domain, self.rows[domain], method)
            now = {known: self._sums(model, known) for known in past.rows}
            found |= {f"{known} after {domain}": sums for known, sums in now.items()}
        return found | self._in_the_end(model, now)

    def _trained(self, model: Any, domain: str, method: Method, past: Past) -> AdapterWeights:
        lab, new = self.mine.lab, self.rows[domain]
        mixed = [*new, *past.drawn(new, method.old, domain)]
        rows = with_base(mixed, CorpusData(lab.base.tokenizer, lab.encoder), method.base, domain)
        bank = train(model, [rows], self.config, past.guarded(model, method)).bank
        try:
            return bank.weights(0)
        finally:
            bank.remove()

    def _sums(self, model: Any, domain: str) -> Sums:
        return sums_of(act(self.mine, self.tasks[domain], model=model))

    def _in_the_end(self, model: Any, now: dict[str, Sums]) -> dict[str, Sums]:
        tasks, told = self.probe
        found = {f"{domain} after {ORDER[-1]}": sums for domain, sums in now.items()}
        found[EVERY] = [row for domain in ORDER for row in now[domain]]
        return {**found, PROBE: sums_of(act(self.mine, tasks, memory=told, model=model))}


# -- what it says ---------------------------------------------------------------------------------------------------


def claimed(run: StudyRun, found: Tried) -> list[Claim]:
    """What runs by guard and cell say; guards that were not tried are not spoken of."""
    return [*_keeping(run, found), *_general(run, found), *_between(run, found), _cost(run, found)]


def _guards(found: Tried) -> list[str]:
    return [way for way in CLAIMED if way in found]


def _keeping(run: StudyRun, found: Tried) -> list[Claim]:
    what = "success on web tasks after web, code and math were learned, less right after web"
    lost = changed(found, "nothing", RIGHT_AFTER, AT_THE_END)
    verdict = against(lost.interval, KEEPS, wanted="below")
    claim = "Forgetting must be mitigated: without a guard, later domains cost the first one"
    claims = [run.claim("without", "synde.txt 11.3, 12.3", claim, **lost.claimed(verdict, f"{what}; no guard"))]
    for way in _guards(found):
        name, source, words = CLAIMED[way]
        left = changed(found, way, RIGHT_AFTER, AT_THE_END)
        said = f"{what}; at least {KEEPS} counts as kept; in the end {reached(found, way, AT_THE_END).text}"
        claim = f"What was learned first is kept by {words}"
        claims.append(run.claim(name, source, claim, **left.claimed(against(left.interval, KEEPS), said)))
    return claims


def _general(run: StudyRun, found: Tried) -> list[Claim]:
    what = "success on new places with every fact told"
    alone = gained(found, "nothing", "base", PROBE)
    said = f"{what}, after three merged adapters less the base; at least {KEEPS} counts as kept"
    claim = "LoRA isolation, without another guard, keeps the base's general skill"
    claims = [run.claim("isolation", "synde.txt 8.3", claim, **alone.claimed(against(alone.interval, KEEPS), said))]
    for way in _guards(found):
        name, source, words = CLAIMED[way]
        lead = gained(found, way, "nothing", PROBE)
        said = f"{what}, less without a guard; less the base {gained(found, way, 'base', PROBE).text}"
        claim = f"More of the base's general skill is kept by {words} than without a guard"
        claims.append(run.claim(f"general_{name}", source, claim, **lead.claimed(against(lead.interval), said)))
    return claims


PAIRS = (
    ("replay_or_ewc", "ours", "20 % old logs beat EWC (K-FAC)", "old logs 20 %", "EWC, K-FAC"),
    ("replay_60_or_ewc", "ours", "60 % old logs beat EWC (K-FAC)", "old logs 60 %", "EWC, K-FAC"),
    ("importance", "synde.txt 8.3", "It matters which weights are important: EWC (K-FAC) beats an equal price on all",
     "EWC, K-FAC", "L2 on delta W"),
)  # fmt: skip
"""Claim, source, sentence, a guard, and what it is held against."""


def _between(run: StudyRun, found: Tried) -> list[Claim]:
    claims = []
    for name, source, claim, new, old in PAIRS:
        if new in found and old in found:
            lead = gained(found, new, old, EVERY)
            what = f"success over all three domains in the end, {new} less {old}"
            claims.append(run.claim(name, source, claim, **lead.claimed(against(lead.interval), what)))
    return claims


def _cost(run: StudyRun, found: Tried) -> Claim:
    leads = {way: gained(found, way, "nothing", LAST) for way in _guards(found)}
    worst = min(leads.values(), key=lambda one: one.interval[0] if one.interval else 0.0)
    said = ", ".join(f"{way}: {one.text}" for way, one in leads.items())
    what = f"the least success on math tasks in the end, with a guard less without; {KEEPS} is borne ({said})"
    verdict = all_of([against(one.interval, KEEPS) for one in leads.values()])
    claim = "Guards cost nothing of the domain that is learned last"
    return run.claim("cost", "ours", claim, **worst.claimed(verdict, what))


def _show(run: StudyRun, found: Tried) -> None:
    text = (
        f"{len(found['base'])} laboratories, rank 1, {recipe(run).max_steps} steps a domain. Success without memory, "
        f"with 95 % intervals; `{EVERY}` is on all three in the end. Strengths were chosen on seed 7, at rank 4."
    )
    show(run, "Three domains, one after the other", text, found, (RIGHT_AFTER, AT_THE_END, LAST, PROBE))

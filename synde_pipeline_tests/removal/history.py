"""Small histories: logs arrive, days are materialised, cycles are frozen, trained and judged, as by `synde run`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

from synde_pipeline.base_model import pinned
from synde_pipeline.evaluation.due import due_cycles, standing
from synde_pipeline.evaluation.gate import decide
from synde_pipeline.evaluation.report import publish
from synde_pipeline.laboratory import report_of, scribe_for
from synde_pipeline.logs.daily import is_current, publish_raw_logs
from synde_pipeline.logs.labels import LabelRow, file_labels
from synde_pipeline.logs.landing import landing_days
from synde_pipeline.memory.daily import publish_deltas, publish_memory
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.models.registry import champion
from synde_pipeline.records import Trajectory
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.removal.plan import hashes
from synde_pipeline.settings import PRESETS, BufferConfig, EvaluationConfig, MemoryConfig, PromptConfig, Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.daily import ensure_base, publish_examples, publish_shard
from synde_pipeline_tests.helpers import DAY, called, gate, land, trajectory
from synde_pipeline_tests.memory.test_curate import BAD, GOOD, REPORT, TRAIN

LONG = (*GOOD, ("say", {}, "bye", True))


def settings_of(composition: str, home, **training) -> Settings:
    values = {"max_steps": 3, "batch_size": 2, "scopes_per_adapter": 2, "composition": composition, **training}
    return Settings(
        home=home,
        memory=MemoryConfig(embedder="hashing", min_tasks=1),
        prompt=PromptConfig(window=256),
        evaluation=EvaluationConfig(min_tasks=2, bootstrap=100),
        buffer=BufferConfig(threshold=5),
        training=PRESETS["world" if composition == "routed" else "default"].model_copy(update=values),
    )


@dataclass
class Step:
    """Logs that arrive together; they are in landing before the days are materialised."""

    logs: list[Trajectory] = field(default_factory=list)
    is_trained: bool = True
    """Whether what is due by then is trained, or left for later."""
    labels: list[LabelRow] = field(default_factory=list)
    """Labels that arrive with them."""


def run(
    uid: str, k: int, *, task: int = 0, scope: str = "site:a", calls=GOOD, tasks=TRAIN, outcome="success", **values
):
    steps = called(*calls)
    day = DAY + timedelta(k)
    return trajectory(f"test:{uid}", task=tasks[task], day=day, scope=scope, steps=steps, outcome=outcome, **values)


def report_runs(name: str, k: int) -> list[Trajectory]:
    return [run(f"{name}{n}", k, task=n, tasks=REPORT) for n in range(3)]


def without(script: Sequence[Step], *uids: str) -> list[Step]:
    """The same arrivals without some trajectories."""
    return [
        Step(
            [run for run in step.logs if run.trace_uid not in uids],
            step.is_trained,
            [label for label in step.labels if label.trace_uid not in uids],
        )
        for step in script
    ]


Judge = Callable[[Warehouse, Cycle, Settings], dict]


def live(warehouse: Warehouse, settings: Settings, script: Sequence[Step], judge: Judge = report_of) -> None:
    """Let a history happen."""
    for n, step in enumerate(script):
        land(warehouse, step.logs, name=f"step{n}")
        file_labels(warehouse, step.labels)
        for day in landing_days(warehouse):
            if not is_current(warehouse, day):
                materialise(warehouse, day, settings)
        freeze_cycles(warehouse, settings.buffer, standing=standing(warehouse))
        while step.is_trained and (due := due_cycles(warehouse)):
            train(warehouse, due[0], settings, judge)


def materialise(warehouse: Warehouse, day, settings: Settings) -> None:
    publish_raw_logs(warehouse, day)
    publish_reflections(warehouse, day, settings)
    publish_deltas(warehouse, day, settings.memory)
    publish_memory(warehouse, day)
    publish_examples(warehouse, day, settings)


def train(warehouse: Warehouse, cycle: Cycle, settings: Settings, judge: Judge) -> None:
    ensure_base(warehouse, settings)
    publish_shard(warehouse, cycle, settings, scribe_for(settings))
    train_cycle(warehouse, cycle, settings.training)
    merge_cycle(warehouse, cycle, settings.models)
    report = judge(warehouse, cycle, settings)
    publish(warehouse, cycle.key, report, {MERGED: report["model"]["hash"]})
    decide(warehouse, cycle, pinned(warehouse).content_hash)


def by_coin(warehouse: Warehouse, cycle: Cycle, settings: Settings) -> dict:
    """A gate without meaning, but with verdicts that follow from the model: about half of them pass."""
    report = report_of(warehouse, cycle, settings)
    passed = int(report["model"]["hash"][:4], 16) % 2 == 0
    return report | {
        "gate": gate(warehouse, cycle.domain, passed=passed, reason=f"coin of {report['model']['hash'][:4]}")
    }


def undecided(warehouse: Warehouse, cycle: Cycle, settings: Settings) -> dict:
    """A gate that holds no evidence: nothing is recorded, and no example comes back."""
    return report_of(warehouse, cycle, settings) | {"gate": None}


def state_of(warehouse: Warehouse) -> dict[str, object]:
    """What law 8 compares: content hashes of everything, and the champion with its history."""
    found = {
        name: value for name, value in hashes(warehouse).items() if not name.startswith(("removals", "superseded"))
    }
    return found | {"champion": champion(warehouse).model_dump()}


SCRIPT = [
    Step([run("a", 0), run("b", 0, task=1, scope="site:b"), *report_runs("r", 0)]),
    Step([run("c", 1, task=2), run("d", 1, task=3, scope="site:b", calls=BAD, outcome="failure")], is_trained=False),
    Step([run("e", 2, task=4, scope="site:c"), run("f", 2, task=5), run("late", 0, task=6), *report_runs("s", 2)]),
    Step([run("g", 3, task=7, scope="site:b"), run("h", 3, task=8, scope="site:c"), run("i", 3, task=0)]),
]
"""Three or four cycles of one domain: late logs, a failure, held-out tasks, a cycle that waits for its training."""


def labelled(uid: str, k: int, outcome: str) -> LabelRow:
    at = datetime.combine(DAY + timedelta(k), time(12), UTC)
    return LabelRow.model_validate({"trace_uid": f"test:{uid}", "outcome": outcome, "label_source": "human", "at": at})


LATE_LABELS = [
    *SCRIPT[:2],
    Step(
        SCRIPT[2].logs, labels=[labelled("d", 2, "success"), labelled("r0", 2, "failure"), labelled("e", 2, "partial")]
    ),
    Step(SCRIPT[3].logs, labels=[labelled("d", 3, "failure"), labelled("g", 3, "failure")]),
]
"""The same with labels: of a run that a cycle has learned from, of one that waits, of a held-out one; one twice."""

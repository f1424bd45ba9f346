"""Benchmarks of section 9.2, phase 2: HumanEval, a user's environment, and the task sets of WebArena and SWE-bench.

Nothing is fetched: the user names files and an environment in the settings, and what is not named is reported as not
run. Four arms on tasks that nothing was learned from; numbers of tiny models are labelled as such.
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.errors import InputError
from synde_pipeline.evaluation.routing import wilson
from synde_pipeline.evaluation.tasks import check_no_leak
from synde_pipeline.llm import Llm
from synde_pipeline.records import content_hash
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse
from synde_pipeline.studies.benchmarks import swebench, webarena
from synde_pipeline.studies.benchmarks.environments import Environment, check_tasks, environment_named
from synde_pipeline.studies.benchmarks.humaneval import HumanEval, read_problems
from synde_pipeline.studies.benchmarks.models import actors_for
from synde_pipeline.studies.benchmarks.runner import Home, four_arms
from synde_pipeline.studies.benchmarks.sandbox import Sandbox
from synde_pipeline.studies.benchmarks.scores import difference, success
from synde_pipeline.studies.benchmarks.task_set import TaskSet
from synde_pipeline.studies.registry import Claim
from synde_pipeline.studies.study import StudyRun
from synde_pipeline.studies.verdicts import NOT_RUN, against

SOURCE = "synde.txt 9.2"
FOLDER = "study_homes"
QUICK_TASKS = 4
"""Tasks of each split in a quick run."""
LEARNING = {
    "context": "Context alone beats no learning",
    "weights": "Weights alone beat no learning",
    "dual": "Both layers beat no learning",
}


def study(run: StudyRun) -> list[Claim]:
    """Measure what the settings name.

    Raises:
        InputError: a file or an environment that is named cannot be used, or generated code cannot be shut off.
    """
    return [*_humaneval(run), *_environment(run), *_webarena(run), *_swebench(run)]


# -- what is acted in --------------------------------------------------------------------------------------------------


def _humaneval(run: StudyRun) -> list[Claim]:
    config = run.settings.benchmarks
    if config.humaneval is None:
        return _not_run(run, "humaneval", "HumanEval: pass@1 in four arms", "SYNDE_HUMANEVAL=HumanEval.jsonl.gz")
    problems = read_problems(config.humaneval)
    sandbox = Sandbox(guard=config.sandbox)
    isolation = sandbox.check()
    environment = HumanEval(problems, sandbox)
    check_tasks(environment)
    file = hashlib.sha256(config.humaneval.read_bytes()).hexdigest()
    return _acted(run, environment, "humaneval", {"file": file, "isolation": str(isolation)})


def _environment(run: StudyRun) -> list[Claim]:
    name = run.settings.benchmarks.environment
    if name is None:
        return _not_run(run, "environment", "A user's environment in four arms", "SYNDE_ENVIRONMENT=<entry point>")
    environment = environment_named(name)
    ids = content_hash([task.model_dump(mode="json") for task in environment.tasks()])
    return _acted(run, environment, f"environment-{name}", {"tasks": ids})


def _acted(run: StudyRun, environment: Environment, name: str, about: dict[str, str]) -> list[Claim]:
    """Four arms in an environment, as a part that an interrupted study takes up again."""
    settings = run.settings
    most = settings.benchmarks.max_tasks or (QUICK_TASKS if run.is_quick else None)
    llm = Llm(Warehouse(settings.warehouse), settings.llm)
    with actors_for(settings, environment.domain, llm) as actors:
        learning = settings.model_dump(mode="json", include={"memory", "reflection"})
        key = {"name": name, **about, "model": actors.identity, "most": most, **learning}

        def measured() -> dict[str, Any]:
            report = [task.task_id for task in environment.tasks() if task.split == "report"]
            check_no_leak(report, actors.learned)
            placed = _home(settings, key)
            arms = four_arms(environment, actors.plain, actors.trained, Home(placed, llm), max_tasks=most)
            none = arms.runs["none"]
            return {
                **about,
                "model": actors.plain.name,
                "is_tiny": actors.is_tiny,
                "why_no_weights": actors.why_not,
                "everywhere": success(arms.everywhere),
                "memory_items": arms.n_items,
                "arms": {arm: success(runs) for arm, runs in arms.runs.items()},
                "differences": {arm: difference(r, none) for arm, r in arms.runs.items() if arm != "none"},
                "tasks": {arm: [[r.task.task_id, r.outcome] for r in runs] for arm, runs in arms.runs.items()},
                "llm": asdict(llm.usage),
                "logs": str(placed.warehouse / "landing"),
            }

        found = run.part(key, measured)
    run.numbers[name] = found
    _show(run, name, found)
    return _claims(run, name, found)


def _home(settings: Settings, key: dict[str, Any]) -> Settings:
    """A new, empty home below the user's: what a benchmark teaches does not mix with his own memory."""
    home = settings.home / FOLDER / content_hash(key)[:12]
    shutil.rmtree(home, ignore_errors=True)
    return settings.model_copy(update={"home": home})


def _show(run: StudyRun, name: str, found: dict[str, Any]) -> None:
    columns = ("n", "success", "low", "high", "items_shown", "tokens_in", "tokens_out", "steps", "n_elided")
    scored = {"none, all splits": found["everywhere"], **found["arms"]}
    rows = [{"arm": arm, **{column: score.get(column) for column in columns}} for arm, score in scored.items()]
    size = " It is tiny: its numbers say that the path works, and nothing about the benchmark." * found["is_tiny"]
    isolation = f" Generated code ran behind: {found['isolation']}." if "isolation" in found else ""
    harmed = [task for row in found["differences"].values() for task in row["harmed"]]
    harm = f" Solved without learning and failed with it: {', '.join(sorted(set(harmed)))}." if harmed else ""
    weights = found["why_no_weights"] or "the champion"
    text = (
        f"Model: {found['model']}.{size}{isolation} Arms with weights: {weights}. Memory: {found['memory_items']} "
        f"items from the logs of train tasks. Arms are compared on report tasks.{harm}"
    )
    run.show(name, text, rows=rows)


def _claims(run: StudyRun, name: str, found: dict[str, Any]) -> list[Claim]:
    """The rate that others publish, and one claim for each arm with learning."""
    label = f"{found['model']}{' (tiny model)' if found['is_tiny'] else ''}"
    rate = found["everywhere"]
    claims = [
        run.claim(
            f"{name}.none",
            SOURCE,
            f"{name}, {label}: success without learning",
            measured=rate.get("success"),
            error=(rate["low"], rate["high"]) if rate["n"] else None,
            n=rate["n"],
            verdict="measured" if rate["n"] else NOT_RUN,
            what="share of tasks solved by the first answer; n: tasks of all splits",
        )
    ]
    for arm, sentence in LEARNING.items():
        row = found["differences"].get(arm, {"n": 0})
        interval = (row["low"], row["high"]) if row["n"] else None
        missing = found["why_no_weights"] if arm != "context" else ""
        claims.append(
            run.claim(
                f"{name}.{arm}",
                SOURCE,
                f"{name}, {label}: {sentence[0].lower()}{sentence[1:]}",
                measured=row.get("difference"),
                error=interval,
                n=row["n"],
                verdict=missing.partition(":")[0] or against(interval),
                what=missing or "success minus that without learning, same report tasks; n: tasks",
            )
        )
    return claims


# -- task sets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """One benchmark whose runs are others'."""

    name: str
    sentence: str
    how: str


def _webarena(run: StudyRun) -> list[Claim]:
    kind = _Kind("webarena", "WebArena: a split by task leaks templates; ours does not", "SYNDE_WEBARENA=test.raw.json")
    tasks = _read(run, kind, run.settings.benchmarks.webarena, webarena.read_tasks)
    if tasks is None:
        return _not_run(run, kind.name, kind.sentence, kind.how)
    torn, n = tasks.torn_by_task_hash()
    parted = sum(len({task.split for task in group}) > 1 for group in tasks.groups.values())
    share, interval = (torn / n, wilson(torn, n)) if n else (None, None)
    what = "share of templates with two tasks or more that a hash of the task's id puts into two splits; n: templates"
    return [
        run.claim(
            "webarena.by_task",
            "ours",
            "WebArena: a split by task puts one template into several splits",
            measured=share,
            error=interval,
            n=n,
            verdict=against(interval),
            what=what,
        ),
        run.claim(
            "webarena.by_template",
            "ours",
            "WebArena: leave-template-out keeps every template in one split",
            measured=float(parted),
            error=None,
            n=len(tasks.groups),
            verdict="does not hold" if parted else "holds exactly",
            what="templates in two splits or more; n: templates",
        ),
    ]


def _swebench(run: StudyRun) -> list[Claim]:
    kind = _Kind("swebench", "SWE-bench: outcomes joined from the report", "SYNDE_SWEBENCH=<folder>")
    tasks = _read(run, kind, run.settings.benchmarks.swebench, swebench.read_tasks)
    if tasks is None:
        return _not_run(run, kind.name, kind.sentence, kind.how)
    decided = [task for task in tasks.tasks if task.outcome != "unknown"]
    solved = sum(task.outcome == "success" for task in decided)
    n = len(decided)
    return [
        run.claim(
            "swebench.resolved",
            SOURCE,
            "SWE-bench: share of recorded runs that the report beside them calls resolved (not run here)",
            measured=solved / n if n else None,
            error=wilson(solved, n) if n else None,
            n=n,
            verdict="measured" if n else NOT_RUN,
            what=f"n: instances with a trajectory and a verdict, of {len(tasks.tasks)} with a trajectory",
        )
    ]


def _read(run: StudyRun, kind: _Kind, path: Path | None, read: Callable[[Path], TaskSet]) -> TaskSet | None:
    """The task set of a path, shown and counted; None where no path is given."""
    if path is None:
        return None
    if not path.exists():
        raise InputError(f"{path} does not exist", expected=kind.how, remedy="check the variable, or unset it")
    tasks = read(path)
    run.numbers[kind.name] = {"n": len(tasks.tasks), "groups": len(tasks.groups), **tasks.counts}
    rows = [{"split or place": key, "tasks": n} for part in ("split", "scope") for key, n in tasks.counts[part].items()]
    run.show(kind.name, f"{len(tasks.tasks)} tasks in {len(tasks.groups)} groups; a group is in one split.", rows=rows)
    return tasks


def _not_run(run: StudyRun, name: str, sentence: str, how: str) -> list[Claim]:
    what = f"nothing: not given; set {how} and run again"
    return [
        run.claim(name, SOURCE, sentence, measured=None, error=None, n=0, verdict=NOT_RUN, what=what),
    ]

"""The arms of the case study, and what is read off their actions: what is done first, and what follows an error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from synde_pipeline.logs.daily import load_all
from synde_pipeline.prompting import PromptEncoder, Window
from synde_pipeline.records import MemoryItem, Trajectory, split_of
from synde_pipeline.settings import PromptConfig
from synde_pipeline.simulation.acting import sums_of
from synde_pipeline.simulation.agent import Run, Turn
from synde_pipeline.simulation.lab import Timed
from synde_pipeline.simulation.tasks import day_number, held_out_tasks, new_places, places
from synde_pipeline.simulation.worlds.base import Place, Stage, Task
from synde_pipeline.studies.longitudinal import score
from synde_pipeline.studies.paired import act, one_by_one, side_by_side
from synde_pipeline.studies.worlds import Laboratory, lent_routes
from synde_pipeline.training.bank import AdapterBank

DOMAIN = "web"
TABLE = {
    "none": "no learning",
    "examples": "five raw examples in context",
    "items": "five memory items",
    "memory": "three memory items",
    "weights": "adapters",
    "dual": "adapters and three memory items",
}
"""Arm -> its name for people."""
N_EXAMPLES = 5
"""Raw examples, and memory items of the arm that is shown as many."""
N_NEW_PLACES = 48
"""Half of them are sites."""


def measured(mine: Laboratory, n_tasks: int, n_timed: int) -> dict[str, Any]:
    """Sums of each arm by place, times of single tasks, users' scores, and the probes, all as JSON."""
    last = day_number(mine.last_day)
    tasks = held_out_tasks(_sites(places(mine.config, last)), "report", n_tasks, last + 1)
    new = held_out_tasks(_sites(new_places(mine.config, N_NEW_PLACES)), "report", n_tasks, last + 1)
    with side_by_side(mine) as bank:
        try_ = _ways(mine, tasks, bank)
        found = {arm: way(range(len(tasks))) for arm, way in try_.items()}
        alone = one_by_one(min(n_timed, n_tasks), {arm: lambda k, w=way: w([k]) for arm, way in try_.items()})
        habits = act(mine, new, bank=bank, routes=lent_routes(new, mine))
    plain = act(mine, new)
    return {
        "arms": {arm: [astuple(row) for row in sums_of(timed)] for arm, timed in found.items()},
        "alone": {arm: [astuple(row) for row in rows] for arm, rows in alone.items()},
        "users": {arm: by_place(timed.runs, lambda run: [_score(run, mine)]) for arm, timed in found.items()},
        "probes": {**_sides(KNOWN, found["weights"], found["none"]), **_sides(NEW, habits, plain)},
    }


def _sites(where: Sequence[Place]) -> list[Place]:
    return [place for place in where if place.world.domain == DOMAIN]


def _ways(
    mine: Laboratory, tasks: Sequence[Task], bank: AdapterBank | None
) -> dict[str, Callable[[Sequence[int]], Timed]]:
    """Arm -> tries the tasks of some numbers."""
    table = {task.place.scope: route for task, route in zip(mine.tasks, mine.routes, strict=True)}
    three = mine.lab.recall(tasks, mine.last_day)
    five = mine.lab.recall(tasks, mine.last_day, N_EXAMPLES)
    encoder = with_examples(mine, tasks)

    def way(
        memory: Sequence[tuple[MemoryItem, ...]] | None = None, bank: AdapterBank | None = None, **words: Any
    ) -> Callable[[Sequence[int]], Timed]:
        def run(numbers: Sequence[int]) -> Timed:
            chosen = [tasks[k] for k in numbers]
            shown = [memory[k] for k in numbers] if memory is not None else None
            routes = [table.get(task.place.scope, -1) for task in chosen]
            return act(mine, chosen, memory=shown, bank=bank, routes=routes, **words)

        return run

    return {
        "none": way(),
        "examples": way(encoder=encoder),
        "items": way(five),
        "memory": way(three),
        "weights": way(bank=bank),
        "dual": way(three, bank),
    }


def _score(run: Run, mine: Laboratory) -> float:
    return score(len(run.turns), mine.config, is_success=run.is_success)


# -- raw examples ---------------------------------------------------------------------------------------------------


class ExamplesEncoder(PromptEncoder):
    """Puts raw trajectories, as they were acted, before the task; its own memory items follow the task as always.

    Args:
        tokenizer: of the base.
        config: of prompts.
        examples: text of a task -> token ids of its examples.
    """

    def __init__(self, tokenizer: Any, config: PromptConfig, examples: Mapping[str, list[int]]) -> None:
        super().__init__(tokenizer, config)
        self._examples = examples

    def prompt(self, domain: str, task: str, memory: Sequence[MemoryItem]) -> Window:
        """Examples, task, memory."""
        window = super().prompt(domain, task, memory)
        before = self._examples.get(task, [])
        return Window([*before, *window.ids], n_context_tokens=len(before) + window.n_context_tokens)


def with_examples(mine: Laboratory, tasks: Sequence[Task]) -> ExamplesEncoder:
    """An encoder that shows each task five successes: the newest of its site, filled up with the newest of others."""
    logs = [log for log in load_all(mine.lab.warehouse) if log.domain == DOMAIN and log.outcome == "success"]
    logs = sorted((log for log in logs if split_of(log.task_id) == "train"), key=lambda log: (log.day, log.trace_uid))
    chosen = {task.text: nearest(logs, task.place.scope) for task in tasks}
    encoder = mine.lab.encoder
    ids = {log.trace_uid: _ids(encoder, log) for shown in chosen.values() for log in shown}
    examples = {text: [token for log in shown for token in ids[log.trace_uid]] for text, shown in chosen.items()}
    return ExamplesEncoder(mine.lab.base.tokenizer, mine.lab.settings.prompt, examples)


def nearest(logs: Sequence[Trajectory], scope: str) -> list[Trajectory]:
    """Five trajectories, those of the place first, newer before older; shown in the opposite order, the best last."""
    newest = logs[::-1]
    ranked = [log for log in newest if log.scope == scope] + [log for log in newest if log.scope != scope]
    return ranked[:N_EXAMPLES][::-1]


def _ids(encoder: PromptEncoder, log: Trajectory) -> list[int]:
    return [token for window in encoder.windows(log.domain, log.task, (), log.steps) for token in window.ids]


# -- probes ---------------------------------------------------------------------------------------------------------

Probe = Callable[[Run], Sequence[float]]
"""What a run did where the probe looks: 1 for each time it behaved so, 0 for each time it did not."""


def by_place(runs: Sequence[Run], probe: Probe) -> list[tuple[float, float]]:
    """Sum and number of what a probe found, one pair a place in the order of names."""
    found: dict[str, list[float]] = {run.task.place.scope: [] for run in runs}
    for run in runs:
        found[run.task.place.scope] += probe(run)
    return [(float(sum(held)), float(len(held))) for _, held in sorted(found.items())]


def first(tool: str, is_so: Callable[[Stage, Turn, str], bool], *, right: str | None = None) -> Probe:
    """Looks at the first action of a stage: tool, what counts, and at which convention alone it is looked at.

    Args:
        tool: of the stage.
        is_so: whether the stage's first turn counts, given the right option.
        right: looks at places alone where this option is right.
    """

    def probe(run: Run) -> list[float]:
        for stage in run.task.stages:
            if stage.tool == tool:
                option = run.task.place.right_option(stage, run.task.day)
                turns = [turn for turn in run.turns if turn.tool == tool]
                return [float(is_so(stage, turns[0], option))] if turns and right in (None, option) else []
        return []

    return probe


def varied(run: Run) -> list[float]:
    """After each error: whether the next action is at the same stage, and an option that was not tried there before."""
    found, tried = [], {}
    for turn, following in zip(run.turns, run.turns[1:], strict=False):
        tried.setdefault(turn.tool, set()).add(turn.arguments)
        if not turn.success:
            found.append(float(following.tool == turn.tool and following.arguments not in tried[turn.tool]))
    return found


def _is_right(_: Stage, turn: Turn, right: str) -> bool:
    return turn.arguments == right


def _is_first_listed(stage: Stage, turn: Turn, _: str) -> bool:
    """`search` among the ways to navigate, `verify` among the ways to finish."""
    return turn.arguments == stage.options[0]


KNOWN: Mapping[str, Probe] = {
    "search first": first("nav", _is_first_listed),
    "right way first": first("nav", _is_right),
    "another option after an error": varied,
    "right selector first": first("extract", _is_right),
    "verify first where needed": first("finish", _is_first_listed, right="verify"),
    "verify first where needless": first("finish", _is_first_listed, right="report"),
}
"""On known sites: each with its own adapter against none."""
NEW: Mapping[str, Probe] = {
    "search first, new sites, lent adapter": first("nav", _is_first_listed),
    "another option, new sites, lent adapter": varied,
    "verify first, new sites, lent adapter": first("finish", _is_first_listed),
}
"""On new sites, with an adapter of other sites against none: habits that need no site."""


def _sides(probes: Mapping[str, Probe], with_: Timed, without: Timed) -> dict[str, list[tuple[float, float]]]:
    sides = {"with": with_.runs, "without": without.runs}
    return {f"{name}, {side}": by_place(runs, probe) for name, probe in probes.items() for side, runs in sides.items()}

"""In which state of its record a tool works, by what runs say of calls that worked and calls that were refused. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from synde_pipeline.memory.lessons import item_of
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.settings import MemoryConfig

_CHANCE = 0.01
"""A state that all tasks of a tool share by chance more often than this is no condition."""


def preconditions(runs: Sequence[Delta], config: MemoryConfig) -> Iterator[MemoryItem]:
    """For each tool the field of its record that always had one value when a call worked, where others vary."""
    works: dict[tuple[str, str], dict[str, list[Delta]]] = defaultdict(lambda: defaultdict(list))
    refused: dict[tuple[str, str], dict[str, list[Delta]]] = defaultdict(lambda: defaultdict(list))
    for row in runs:
        for text in row.features:
            tool, _, phrase = text.partition(": ")
            verb, _, state = phrase.partition(" when ")
            if verb in ("works", "is refused") and state:
                field, _, value = state.partition(" is ")
                (works if verb == "works" else refused)[tool, field][value].append(row)
    tasks_of: dict[str, dict[str, set[tuple[str, str]]]] = defaultdict(lambda: defaultdict(set))
    for (tool, field), values in works.items():
        for value, rows in values.items():
            tasks_of[field][value] |= {(tool, row.task_id) for row in rows}
    for (tool, field), values in sorted(works.items()):
        if len(values) != 1:
            continue
        ((value, rows),) = values.items()
        n_tasks = len({row.task_id for row in rows})
        everywhere = tasks_of[field]
        share = len(everywhere[value]) / len(set().union(*everywhere.values()))
        if n_tasks < config.min_tasks or share**n_tasks > _CHANCE:
            continue
        others = {state: found for state, found in refused[tool, field].items() if state != value}
        no = "".join(f" It refused {state} ({len({row.task_id for row in found})} tasks)." for state, found in sorted(others.items()))
        yield item_of(
            rows[0],
            "strategy",
            f"tool:{tool}",
            (
                f"Check {field} before {tool}",
                f"Before {tool} is called on a record that has a {field}.",
                f"Call {tool} only if {field} is {value}: so it was each time that it worked ({n_tasks} tasks).{no}",
            ),
            [*rows, *(row for found in others.values() for row in found)],
        )

"""In which state of its record a tool works, by runs' calls that worked and calls that were refused. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from synde_pipeline.memory.lessons import item_of
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.settings import MemoryConfig

_MAX_STATES = 8
"""Values of a field in all runs of a domain, beyond which it is no state but something else about the record."""
_CHANCE = 0.01
"""A state that all tasks of a tool share by chance more often than this is no condition."""

_Calls = dict[tuple[str, str], dict[str, list[Delta]]]
"""(tool, field) -> value that the field had when the tool was called -> runs."""


def preconditions(runs: Sequence[Delta], config: MemoryConfig) -> Iterator[MemoryItem]:
    """For each tool the field of its record that always had one value when a call worked, where others vary."""
    works, refused = _calls(runs, "works"), _calls(runs, "is refused")
    everywhere: dict[str, dict[str, set[tuple[str, str]]]] = defaultdict(lambda: defaultdict(set))
    for (tool, field), values in works.items():
        for value, rows in values.items():
            everywhere[field][value] |= {(tool, row.task_id) for row in rows}
    for (tool, field), values in sorted(works.items()):
        (value, rows), *others = values.items()
        n_tasks, seen = len({row.task_id for row in rows}), everywhere[field]
        share = len(seen[value]) / len(set().union(*seen.values()))
        if others or n_tasks < config.min_tasks or len(seen) > _MAX_STATES or share**n_tasks > _CHANCE:
            continue
        refusals = {state: found for state, found in sorted(refused.get((tool, field), {}).items()) if state != value}
        no = f" Refused: {', '.join(refusals)}." if refusals else ""
        texts = (
            f"Check {field} before {tool}",
            f"Before {tool} is called on a record that has a {field}.",
            f"Call {tool} only if {field} is {value}: so it was each time that it worked ({n_tasks} tasks).{no}",
        )
        rows = [*rows, *(row for found in refusals.values() for row in found)]
        yield item_of(rows[0], "strategy", f"tool:{tool}", texts, rows)


def _calls(runs: Sequence[Delta], verb: str) -> _Calls:
    found: _Calls = defaultdict(lambda: defaultdict(list))
    for row in runs:
        for text in row.features:
            tool, _, state = text.partition(f": {verb} when ")
            field, _, value = state.partition(" is ")
            if value:
                found[tool, field][value].append(row)
    return found

"""What one run did, in the words in which the fold contrasts runs: `<tool>: <phrase>`.

Read off calls and results by rule. Whether any of it matters is for the fold to find out.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from synde_pipeline.records import REPLY, Step, Trajectory
from synde_pipeline.reflection.injection import why_suspect
from synde_pipeline.reflection.reading import Reading, is_identifier, is_read, leaves, parsed

_AGREED = re.compile(
    r"\b(yes|yep|yeah|sure|ok|okay|agreed?|confirm(ed)?|proceed|go ahead|correct|please do|do it|sounds good)\b",
    re.IGNORECASE,
)


def features_of(trajectory: Trajectory) -> tuple[str, ...]:
    """What the run did, each thing once, sorted."""
    seen, found = Reading(), set[str]()
    seen.hear(trajectory.task)
    asked: dict[str, set[str]] = defaultdict(set)
    changes, calls = Counter[str](), Counter[tuple[str, str]]()
    agreed = all(step.tool != REPLY for step in trajectory.steps)
    for step in trajectory.steps:
        if step.tool == REPLY:
            seen.hear(step.result)
            agreed = _AGREED.search(step.result) is not None
            continue
        given = [*leaves(parsed(step.arguments))]
        asked[step.tool].update(value for _, value in given)
        arguments = [(key, value) for key, value in given if is_identifier(value)]
        found.update(_sources(step, arguments, seen))
        if not is_read(step.tool):
            changes[step.tool] += step.success is not False
            found.update(_change(step, arguments, seen, agreed))
        if step.success is not False:
            calls[step.tool, step.arguments] += 1
            seen.read(step.tool, step.result)
    found |= {f"{tool}: call it several times" for tool, n in changes.items() if n > 1}
    found |= {f"{tool}: repeat it unchanged after it worked" for (tool, _), n in calls.items() if n > 1}
    for (source, name), listed in seen.lists.items():
        readers = [tool for tool, values in asked.items() if tool != source and is_read(tool) and listed <= values]
        found |= {f"{tool}: look up all {name} that {source} lists" for tool in readers if is_read(source)}
    return tuple(sorted(text for text in found if not why_suspect(text)))


def _sources(step: Step, arguments: list[tuple[str, str]], seen: Reading) -> Iterator[str]:
    """Which result each identifier in the arguments was taken from, unless the user had said it."""
    for key, value in arguments if step.success else ():
        if value in seen.origins and not seen.said(value):
            tool, field = next(iter(seen.origins[value]))
            yield f"{step.tool}: take {key} from {field or 'the result'} of {tool}"


def _change(step: Step, arguments: list[tuple[str, str]], seen: Reading, agreed: bool) -> Iterator[str]:
    """In which state of its record a changing tool was called, and whether the user had agreed."""
    if not agreed and arguments:  # without an id it changes no record
        yield f"{step.tool}: call it before the user agreed"
    verb = "is refused" if step.success is False else "works"
    for key, value in arguments:
        for name, state in seen.states.get((key, value), {}).items():
            yield f"{step.tool}: {verb} when {name} is {state}"

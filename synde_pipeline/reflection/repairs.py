"""Errors of tools, and what mended them: the same call made in another way, or another tool for the same."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from synde_pipeline.records import INVALID, REPLY, Lesson, Step
from synde_pipeline.reflection.injection import why_suspect
from synde_pipeline.reflection.reading import Reading, is_read, leaves, parsed

_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"|#?\b\w*\d[\w-]*\b|\S+@\S+|[\[{].*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MAX_ERROR_WORDS = 14
_MAX_PREFIX = 3
"""Characters in front of an id that are its form: `#W`."""

UNMENDED = "Check this before the call."


def error_pattern(result: str) -> str:
    """An error message without its literals, so that equal causes read equal: `user ... not found`."""
    words = _LITERAL.sub("...", _first_line(result)).lower().split()
    return " ".join(words[words[0] in ("error:", "error") :][:_MAX_ERROR_WORDS]) if words else ""


def plain_pattern(step: Step) -> str:
    """The pattern of a step's error; empty if it reads like an attack."""
    return "" if why_suspect(_first_line(step.result), is_result=True) else error_pattern(step.result)


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def mending_steps(steps: Sequence[Step]) -> dict[int, Step]:
    """Index of a failed step -> the next call of its tool that worked, else of a tool that looks up the same."""
    mended: dict[int, Step] = {}
    working: dict[str, Step] = {}
    for step in reversed(steps):
        if step.tool == REPLY:
            continue
        if step.success is False and (after := working.get(step.tool) or working.get(_stem(step.tool))):
            mended[step.index] = after
        elif step.success:
            working[step.tool] = working[_stem(step.tool)] = step
    return mended


def _stem(tool: str) -> str:
    """What tools that look up the same in different ways share: `find user` of `find_user_id_by_email`."""
    return " ".join(tool.split("_")[:2]) if is_read(tool) and tool.count("_") > 1 else tool


def repairs(task: str, steps: Sequence[Step]) -> Iterator[Lesson]:
    """A pitfall for each error of a tool: what it says, and what got round it, if anything did."""
    mended = mending_steps(steps)
    seen = Reading()
    seen.hear(task)
    for step in steps:
        if step.tool == REPLY:
            seen.hear(step.result)
        elif step.success is not False:
            seen.read(step.tool, step.result)
    for step in steps:
        pattern = error_pattern(step.result) if step.success is False and step.tool not in (REPLY, INVALID) else ""
        if not pattern:
            continue
        advice = _advice(step, mended.get(step.index), seen)
        yield Lesson(
            kind="pitfall",
            scope=f"tool:{step.tool}",
            title=f"{step.tool}: {pattern}",
            description=f"Before {step.tool} is called, and when it answers '{pattern}'. Not for its other errors.",
            content=advice,
            suspect=why_suspect(_first_line(step.result), is_result=True) or why_suspect(advice),
        )


def _advice(failed: Step, after: Step | None, seen: Reading) -> str:
    """What to do: what the call that worked gave otherwise, and where it took that from."""
    if after is None:
        return UNMENDED
    if after.tool != failed.tool:
        return f"Use {after.tool} instead."
    old, new = _arguments(failed), _arguments(after)
    if any(
        (key, value) in seen.states for key, values in old.items() for value in values if value not in new.get(key, ())
    ):
        return UNMENDED  # the later call was about another record
    if lengths := _evened(parsed(failed.arguments), parsed(after.arguments)):
        return lengths
    names = [name for name in new if new[name] != old.get(name)]
    ways = [way for name in names if (way := _way(name, old.get(name, []), new[name], failed.result, seen))]
    if ways:
        return " ".join(dict.fromkeys(ways[:2]))
    names = names or [name for name in old if name not in new]
    return f"Change {_and(names)}: with other values it worked." if names else "Call it once more: it worked then."


def _way(name: str, old: list[str], new: list[str], error: str, seen: Reading) -> str:
    """How one argument was changed, if a rule knows the way."""
    if not old:
        return f"Give {name}."
    if all(map(str.isdecimal, new)) and str(sum(map(int, new))) in _NUMBER.findall(error):
        return f"Let {name} add up to the amount that the error names."
    fresh = [value for value in new if value not in old]
    for value in fresh:
        prefix = next((value.removesuffix(x) for x in old if x and value.endswith(x)), "")
        if 0 < len(prefix) <= _MAX_PREFIX and not prefix[-1].isdigit():
            return f"Write {name} with '{prefix}' in front."
    before, now = {_kind(x) for x in old} - {""}, {_kind(x) for x in fresh} - {""}
    if before and now and not before & now:
        return f"Give a {_and(sorted(now))} instead of a {_and(sorted(before))} as {name}."
    if fresh and all(seen.said(x) and not x.isalpha() for x in fresh):
        return f"Ask the user to check {name}: a corrected one worked."
    return _source(name, old, fresh, seen)


def _source(name: str, old: list[str], fresh: list[str], seen: Reading) -> str:
    """The result that held the new values and not the old ones."""
    known_before = {source for value in old for source in seen.origins.get(value, ())}
    sources = [source for value in fresh for source in seen.origins.get(value, ()) if source not in known_before]
    for tool, key in sources:
        if is_read(tool):
            return f"Take {name} from {key or 'the result'} of {tool}."
    return ""


def _evened(old: Any, new: Any) -> str:
    """Two lists that differed in length and do not any more."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return ""
    lists = [name for name in new if _is_list_of_ids(new[name]) and _is_list_of_ids(old.get(name))]
    for one, other in combinations(lists, 2):
        if len(old[one]) != len(old[other]) and len(new[one]) == len(new[other]):
            return f"Give {one} and {other} the same number of entries."
    return ""


def _is_list_of_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def _kind(value: str) -> str:
    """What an id says it is the id of: `gift card` of `gift_card_123`."""
    found = re.fullmatch(r"([a-z]+(?:_[a-z]+)*)_\w*\d\w*", value)
    return found.group(1).replace("_", " ") if found else ""


def _arguments(step: Step) -> dict[str, list[str]]:
    """Key -> the scalars there."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, value in leaves(parsed(step.arguments)):
        found[key or "the argument"].append(value)
    return found


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

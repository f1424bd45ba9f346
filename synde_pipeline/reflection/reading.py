"""What an agent had read at a step: where a value came from, who said it, in what state a record was."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_READS = re.compile(
    "analyze|browse|calculate|check|compute|count|describe|fetch|find|get|grep|inspect|list|look|lookup|open|plan|query"
    "|read|recall|retrieve|scroll|search|see|show|think|validate|verify|view"
)
"""First words of the names of tools that only look or think."""
_FIRST_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_WORD = re.compile(r"[\w@.#+-]+")
_NUMBER_OR_DATE = re.compile(r"-?\d+\.\d+|-?\d{1,5}|\d{4}-\d\d-\d\d\S*|\d\d?:\d\d\S*")
_MAX_STATE = 24
"""Characters of a record's field that can be a state: `pending`, `basic_economy`."""
_MAX_WORDS = 3
"""Words of a field's name, and of a state: they get into lessons, where a sentence out of a result has no place."""


def is_read(tool: str) -> bool:
    """Whether a tool only looks or thinks, by the verb in its name: it cannot spoil an outcome, and is no goal."""
    verb = _FIRST_WORD.search(tool)
    return verb is not None and _READS.fullmatch(verb.group().lower()) is not None


def is_identifier(text: str) -> bool:
    """Whether a text can be an id: one word with a digit that is no small number, date or time."""
    if not 4 <= len(text) <= 64 or any(c.isspace() for c in text):
        return False
    return any(c.isdigit() for c in text) and not _NUMBER_OR_DATE.fullmatch(text)


def parsed(text: str) -> Any:
    """The JSON value that a text is, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def leaves(value: Any) -> Iterator[tuple[str, str]]:
    """(key, text) of all scalars of a JSON value in order; keys leave out indices, ids and sentences."""
    stack = [("", value)]
    while stack:
        key, part = stack.pop()
        if isinstance(part, dict):
            stack += reversed([(_below(key, name), inner) for name, inner in part.items()])
        elif isinstance(part, list):
            stack += [(key, inner) for inner in reversed(part)]
        elif part is not None and not isinstance(part, bool):
            yield key, str(part)


def _below(key: str, name: str) -> str:
    is_name = not is_identifier(name) and len(name.split()) <= _MAX_WORDS
    return f"{key}.{name}".lstrip(".") if is_name else key


def _state_of(value: Any) -> str:
    """A field as a state; empty for what is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str) or len(value) > _MAX_STATE or len(value.split()) > _MAX_WORDS:
        return ""
    return "" if any(c.isdigit() or c == "@" for c in value) else value


def _lists_ids(values: list[Any]) -> bool:
    """Whether texts are ids, most of them by their looks: one may lack digits by chance."""
    ids = [value for value in values if isinstance(value, str)]
    return len(ids) == len(values) > 1 and sum(map(is_identifier, ids)) * 2 > len(ids)


@dataclass
class Reading:
    """Grows with the steps; each text is looked at once."""

    heard: set[str] = field(default_factory=set)
    """Words of the task and of the user's turns."""
    origins: dict[str, dict[tuple[str, str], None]] = field(default_factory=dict)
    """Identifier -> (tool, key) of the results that held it, the first one first."""
    states: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """(field, identifier) that names a record -> its states, as last read."""
    lists: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(tool, field) -> the identifiers that a result listed."""

    def hear(self, text: str) -> None:
        """Take in what the user said."""
        self.heard.update(word.strip(".") for word in _WORD.findall(text))

    def said(self, value: str) -> bool:
        """Whether the user said all words of a value."""
        return all(word.strip(".") in self.heard for word in _WORD.findall(value))

    def read(self, tool: str, result: str) -> None:
        """Take in a tool's result."""
        value = parsed(result)
        for key, text in leaves(value):
            if is_identifier(text):
                self.origins.setdefault(text, {})[tool, key] = None
        if not isinstance(value, dict):
            return
        states = {name: state for name, part in value.items() if _below("", name) and (state := _state_of(part))}
        for name, part in value.items():
            if isinstance(part, str) and is_identifier(part):
                self.states[name, part] = states
            elif isinstance(part, list) and _below("", name) and _lists_ids(part):
                self.lists[tool, name] = set(part)

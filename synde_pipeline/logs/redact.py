"""Secrets and personal data out of text, before anything downstream of landing is stored (law 9).

Each is replaced by a placeholder of its kind with a number, `<EMAIL_1>`, the same one wherever it stands in a
trajectory, so that who wrote to whom, and which argument came from where, can still be told.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from synde_pipeline.errors import InputError
from synde_pipeline.logs.parquet import from_table, to_table
from synde_pipeline.logs.sensitive import spans_of
from synde_pipeline.logs.suspects import suspects_in
from synde_pipeline.records import Step, Trajectory, canonical_json, content_hash

ALLOWED = "redaction-allow.txt"
"""File in the landing folder: one text a line that stays, or /a pattern/; # begins a comment."""
_LONG_NUMBER = 10**11


@dataclass(frozen=True)
class Allowed:
    """What a person knows to be harmless."""

    texts: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Allowed":
        """Read an allow-list.

        Raises:
            InputError: a pattern is none.
        """
        texts, patterns = set(), []
        for line in map(str.strip, lines):
            if len(line) > 2 and line.startswith("/") and line.endswith("/"):
                try:
                    patterns.append(re.compile(line[1:-1]))
                except re.error as error:
                    raise InputError(f"{line} in {ALLOWED} is no pattern: {error}", expected="/a regex/") from error
            elif line and not line.startswith("#"):
                texts.add(line)
        return cls(frozenset(texts), tuple(patterns))

    @classmethod
    def in_folder(cls, folder: Path) -> "Allowed":
        """The allow-list of a landing folder; empty where there is none."""
        path = folder / ALLOWED
        return cls.of(path.read_text("utf-8").splitlines()) if path.exists() else NOTHING

    def holds(self, text: str) -> bool:
        """Whether a text may stay."""
        return text in self.texts or any(pattern.fullmatch(text) for pattern in self.patterns)


NOTHING = Allowed()


@dataclass
class Redactor:
    """Redacts texts that belong together: equal secrets get equal placeholders."""

    allowed: Allowed = NOTHING
    counts: Counter[str] = field(default_factory=Counter)
    """Kind -> how many were replaced."""
    replaced: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Kind and text, and how often it stood there."""
    _known: dict[tuple[str, str], str] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)

    def text(self, text: str) -> str:
        """A text without what must go."""
        parts, at = [], 0
        for start, end, kind in spans_of(text):
            if not self.allowed.holds(text[start:end]):
                parts += [text[at:start], self._placeholder(kind, text[start:end])]
                at = end
        return "".join([*parts, text[at:]]) if parts else text

    def arguments(self, text: str) -> str:
        """A call's arguments: JSON is redacted value by value and stays JSON."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text)
        clean = self._value(value)
        return text if clean == value else canonical_json(clean)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._field(key, part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._value(part) for part in value]
        if isinstance(value, int) and not isinstance(value, bool) and value > _LONG_NUMBER:
            clean = self.text(str(value))
            return value if clean == str(value) else clean
        return value

    def _field(self, key: str, value: Any) -> Any:
        """A secret may be told by its field's name alone, as in {"password": ...}."""
        if not isinstance(value, str):
            return self._value(value)
        head = f"{key}: "
        clean = self.text(head + value)
        return clean.removeprefix(head) if clean.startswith(head) else self.text(value)

    def _placeholder(self, kind: str, secret: str) -> str:
        self.counts[kind] += 1
        self.replaced[kind, secret] += 1
        key = (kind, "".join(secret.split()).lower() if kind in ("email", "phone", "card", "iban") else secret)
        if key not in self._known:
            self._numbers[kind] += 1
            self._known[key] = f"<{kind.upper()}_{self._numbers[kind]}>"
        return self._known[key]


def safe_id(name: str, n_parts: int) -> str:
    """An id whose native part is hashed if it holds something sensitive: it goes on into raw logs and lineage.

    Args:
        name: of parts that colons divide.
        n_parts: how many of them are ours; the rest is the native id.
    """
    *ours, native = name.split(":", n_parts)
    return ":".join([*ours, content_hash(native)[:24]]) if spans_of(native) else name


def redact(text: str) -> tuple[str, int]:
    """Redact one text; returns it and how many were found."""
    redactor = Redactor()
    return redactor.text(text), sum(redactor.counts.values())


def redact_trajectory(trajectory: Trajectory, allowed: Allowed = NOTHING) -> tuple[Trajectory, Counter[str]]:
    """Redact all free text of a trajectory; returns it unchanged (the same object) where nothing was found."""
    redactor = Redactor(allowed)
    return redact_with(redactor, trajectory), redactor.counts


def redact_with(redactor: Redactor, run: Trajectory, suspects: Collection[str] | None = None) -> Trajectory:
    """Redact a trajectory by a redactor, which then knows what it found.

    Args:
        redactor: knows the placeholders that equal secrets have.
        run: whose texts.
        suspects: its texts that may hold something, see `suspects`; None: all of them.
    """
    update = _clean(redactor, run, ("task", "system"), suspects)
    names = ("state", "reasoning", "result", "arguments")
    steps = tuple(step.model_copy(update=_clean(redactor, step, names, suspects)) for step in run.steps)
    return run.model_copy(update={**update, "steps": steps}) if redactor.counts else run


def _clean(
    redactor: Redactor, record: Trajectory | Step, names: Iterable[str], suspects: Collection[str] | None
) -> dict[str, str]:
    texts = {name: getattr(record, name) for name in names}
    return {
        name: redactor.arguments(text) if name == "arguments" else redactor.text(text)
        for name, text in texts.items()
        if suspects is None or text in suspects
    }


def redact_table(table: pa.Table, allowed: Allowed = NOTHING) -> tuple[pa.Table, Counter[str]]:
    """Redact raw logs; of the rows, which come back in another order, only those that are suspected are looked at.

    Returns:
        The table, and kind -> how many were replaced.
    """
    rows, suspects = suspects_in(table)
    if not suspects:
        return table, Counter()
    clean, counts = [], Counter[str]()
    for run in from_table(table.filter(pa.array(rows))):
        redactor = Redactor(allowed)
        clean.append(redact_with(redactor, run, suspects))
        counts += redactor.counts
    return pa.concat_tables([table.filter(pa.array(~rows)), to_table(clean)]), counts

"""Memory as files that people read and write: Markdown, JSON, and playbooks of Agentic Context Engineering (ACE).

What is written is read back with the same texts. Counters of a playbook are words in a description, never evidence.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from synde_pipeline.errors import InputError
from synde_pipeline.memory.curate import Bank
from synde_pipeline.memory.edits import lesson_of
from synde_pipeline.records import Lesson, MemoryItem

Format = Literal["markdown", "json", "ace"]
FORMATS: tuple[Format, ...] = ("markdown", "json", "ace")

_FIELDS = ("kind", "scope", "title", "description", "content")
_MARK = "<!-- synde memory 1 -->"
_BULLET = re.compile(r"\[([A-Za-z][\w]*-\d+)\]\s*(?:helpful=(\d+)\s+harmful=(\d+)\s*::)?\s*(.*)", re.DOTALL)
_ORIGIN = re.compile(
    r"(?P<section>.*) \(ACE bullet (?P<bullet>[\w-]+)(?:, helpful=(?P<helpful>\d+), harmful=(?P<harmful>\d+))?\)"
)
_TITLE_WORDS = 12


@dataclass(frozen=True)
class Entry:
    """One lesson of a file."""

    lesson: Lesson
    domain: str
    """Empty where the file names none."""
    item_id: str = ""
    """Id of the item that it was exported from; empty where the file names none."""
    is_active: bool = True
    is_pinned: bool = False


# -- reading --------------------------------------------------------------------------------------------------------


def read_file(path: Path, forced: Format | None = None) -> list[Entry]:
    """Lessons of a file, in its order; the format is told by content unless it is forced.

    Raises:
        InputError: the file cannot be read, is in none of the formats, or holds no lesson.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a text file in UTF-8") from error
    found = loads(text, forced or _format_of(text, str(path)), str(path))
    if not found:
        raise InputError(f"{path} holds no lesson", expected="Markdown or JSON of `synde memory export`, or a playbook")
    return found


def loads(text: str, form: Format, name: str = "the text") -> list[Entry]:
    """Lessons of a text in a known format."""
    read = {"markdown": _read_markdown, "json": _read_json, "ace": _read_ace}[form]
    return list(read(text, name))


def _format_of(text: str, name: str) -> Format:
    if text.lstrip().startswith(("{", "[{", "[\n", "[ ")):
        return "json"
    if _MARK in text:
        return "markdown"
    if any(_BULLET.match(line) for line in text.splitlines()):
        return "ace"
    raise InputError(
        f"{name} is in no known format", expected=", ".join(FORMATS), remedy="name it with --format if it is one"
    )


def _entry(fields: dict[str, Any], where: str) -> Entry:
    wrong = [name for name in ("title", "content") if not isinstance(fields.get(name), str)]
    if wrong:
        raise InputError(f"{where} has no {wrong[0]}", expected="title and content of each lesson, as texts")
    given = {name: fields.get(name) or "" for name in _FIELDS}
    try:
        lesson = lesson_of(**given | {"kind": given["kind"] or "strategy"})
    except InputError as error:
        raise InputError(f"{where}: {error.found}", expected=error.expected, remedy=error.remedy) from error
    return Entry(
        lesson,
        domain=fields.get("domain") or "",
        item_id=fields.get("item_id") or "",
        is_active=fields.get("status", "active") == "active",
        is_pinned=fields.get("pinned") in (True, "yes"),
    )


def _read_json(text: str, name: str) -> Iterator[Entry]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{name} is no JSON: {error}") from error
    rows = found.get("items") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{name} holds no items", expected='a list of objects, or {"items": [...]}')
    for k, row in enumerate(rows):
        yield _entry(row, f"{name}, item {k + 1}")


_TOKEN = re.compile(
    r"^## (?P<domain>.*)$|^### (?P<title>.*)$|^- (?P<field>id|kind|scope|status|pinned|when): (?P<value>.*)$"
    r"|^(?P<fence>`{3,})text[ \r]*\n(?P<content>[\s\S]*?)\n(?P=fence)[ \r]*$|^(?P<stray>`{3,})",
    re.MULTILINE,
)


def _read_markdown(text: str, name: str) -> Iterator[Entry]:
    domain, fields = "", {}
    for token in _TOKEN.finditer(text):
        if token["domain"] is not None:
            domain = _unquoted(token["domain"])
        elif token["title"] is not None:
            fields = {"domain": domain, "title": _unquoted(token["title"])}
        elif token["field"]:
            key = {"id": "item_id", "when": "description"}.get(token["field"], token["field"])
            fields[key] = _unquoted(token["value"])
        elif token["fence"]:
            yield _entry({**fields, "content": token["content"]}, f"{name}, {fields.get('title', 'lesson')!r}")
            fields = {}
        else:
            raise InputError(
                f"{name} has a fence inside the content of a lesson, or one that does not end",
                expected="longer fences around the content than in it",
                remedy="add backticks to both of them",
            )
    if "title" in fields:
        raise InputError(f"{name} ends before the content of {fields['title']!r}", expected="a fenced block, ```text")


def _read_ace(text: str, name: str) -> Iterator[Entry]:
    """Bullets under section headers; lines that start no bullet and no section go on with the one before."""
    section, bullets = "", []
    for line in text.splitlines():
        if line.startswith("#"):
            section = line.strip("# \t:")
        elif _BULLET.match(line):
            bullets.append((section, [line]))
        elif bullets and line.strip() and bullets[-1][0] == section:
            bullets[-1][1].append(line)
    found = [(section, _BULLET.match("\n".join(lines).rstrip())) for section, lines in bullets]
    titles = Counter(_title(match[4]) for _, match in found if match)
    for section, match in found:
        if match is None or not match[4].strip():
            continue
        bullet, helpful, harmful, content = match.groups()
        title = _title(content) if titles[_title(content)] == 1 else f"{_title(content)} [{bullet}]"
        counted = f", helpful={helpful}, harmful={harmful}" if int(helpful or 0) + int(harmful or 0) else ""
        about = f"{section.capitalize()} (ACE bullet {bullet}{counted})"
        fields = {"kind": _kind(section), "title": title, "description": about, "content": content}
        yield _entry(fields, f"{name}, bullet {bullet}")


def _title(content: str) -> str:
    """First words of a bullet: playbooks have no titles."""
    words = content.split()
    return " ".join(words[:_TITLE_WORDS]) + (" ..." if len(words) > _TITLE_WORDS else "")


def _kind(section: str) -> str:
    return "pitfall" if re.search(r"mistake|pitfall|troubleshoot", section, re.IGNORECASE) else "strategy"


# -- writing --------------------------------------------------------------------------------------------------------


def dumps(bank: Bank, items: Sequence[MemoryItem], form: Format) -> str:
    """Items of a bank as a text."""
    if form == "json":
        return json.dumps(
            {"as_of": str(bank.as_of), "bank_hash": bank.bank_hash, "items": [_fields(item) for item in items]},
            ensure_ascii=False,
            indent=1,
        )
    return "\n".join((_markdown if form == "markdown" else _ace)(bank, items)) + "\n"


def _fields(item: MemoryItem) -> dict[str, Any]:
    return item.model_dump(mode="json") | {"version": item.version}


def _markdown(bank: Bank, items: Sequence[MemoryItem]) -> Iterator[str]:
    yield from (_MARK, f"# Memory as of {bank.as_of} (bank {bank.bank_hash[:12]})")
    for domain in sorted({item.domain for item in items}):
        yield from ("", f"## {_quoted(domain)}")
        for item in items:
            if item.domain == domain:
                yield from _markdown_item(item)


def _markdown_item(item: MemoryItem) -> Iterator[str]:
    yield from ("", f"### {_quoted(item.title)}", "")
    yield f"- id: {item.item_id}"
    yield f"- kind: {item.kind}"
    if item.scope:
        yield f"- scope: {_quoted(item.scope)}"
    if item.status != "active":
        yield f"- status: {item.status}"
    if item.pinned:
        yield "- pinned: yes"
    if item.description:
        yield f"- when: {_quoted(item.description)}"
    yield f"- tasks: {len(item.task_ids)}, helpful: {item.helpful}, harmful: {item.harmful}"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", item.content)), default=0))
    yield from ("", f"{fence}text", item.content, fence)


def _quoted(text: str) -> str:
    """The text on one line: as it is where that is plain, else as a JSON string."""
    is_plain = text == " ".join(text.split()) and text.isprintable() and not text.startswith('"') and text
    return text if is_plain else json.dumps(text)


def _unquoted(text: str) -> str:
    text = text.strip()
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text  # a person's own words in quotation marks


def _ace(_: Bank, items: Sequence[MemoryItem]) -> Iterator[str]:
    """Sections of imported bullets keep their names, and bullets their ids; counters are theirs and ours together."""
    origins = [_origin(item) for item in items]
    taken = {origin["bullet"] for origin in origins if origin}
    names = (name for number in count(1) if (name := f"syn-{number:05d}") not in taken)
    sections: dict[str, list[str]] = {}
    for item, origin in zip(items, origins, strict=True):
        section = (origin["section"] if origin else f"{item.domain} {item.kind}").upper()
        helpful, harmful = (
            number + int((origin[name] if origin else 0) or 0)
            for name, number in (("helpful", item.helpful), ("harmful", item.harmful))
        )
        bullet, text = (origin["bullet"], item.content) if origin else (next(names), _paragraph(item))
        sections.setdefault(section, []).append(f"[{bullet}] helpful={helpful} harmful={harmful} :: {_bullet(text)}")
    for section, lines in sections.items():
        yield from (f"## {section}", *lines, "")


def _origin(item: MemoryItem) -> dict[str, Any] | None:
    found = _ORIGIN.fullmatch(item.description)
    return found.groupdict() if found else None


def _paragraph(item: MemoryItem) -> str:
    return " ".join(" ".join(part.split()) for part in (f"{item.title}.", item.description, item.content) if part)


def _bullet(text: str) -> str:
    """The text as a bullet can hold it: on one line where a reader would take one of its lines for something else."""
    lines = text.strip().splitlines()
    is_safe = all(line.strip() and not line.startswith("#") and not _BULLET.match(line) for line in lines)
    return "\n".join(lines) if is_safe else " ".join(text.split())

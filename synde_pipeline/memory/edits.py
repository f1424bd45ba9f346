"""People's edits as files: `memory_edits/day=D/<hash>.json`, one delta each, written once and never changed.

An edit is known from its own day on, which nobody can choose: it cannot reach into the past. It survives every fold,
and is undone by another edit. What edits amount to is decided by the fold; applying them is `memory.editor`'s.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.logs.redact import redact
from synde_pipeline.memory.sources import HUMAN, SOURCE, shut_out
from synde_pipeline.records import Delta, Lesson, MemoryItem, content_hash
from synde_pipeline.storage import Warehouse, write_atomically

EDITS = "memory_edits"
_TEXTS = ("title", "description", "content")
_MOST_CHARACTERS = 20_000
"""Of a person's lesson: some 5000 tokens, which fill a context of their own."""
_SCOPE = re.compile(r"[a-z_]+:\S.*")


def adding(lesson: Lesson, domain: str) -> Delta:
    """A new item in a person's words; of an item that is there, one more support.

    Raises:
        InputError: its scope names nothing.
    """
    if lesson.scope and not _SCOPE.fullmatch(lesson.scope):
        raise InputError(
            f"the scope is {lesson.scope!r}", expected="KIND:NAME, as site:shop or tool:search, or nothing"
        )
    return _unsigned(op="ADD", domain=domain, **lesson.model_dump(exclude={"suspect"}))


def rewriting(item: MemoryItem, texts: Mapping[str, str]) -> Delta:
    """New words for an item: title, description and content, of which those not given stay as they are.

    Only words that are new are kept: the others go on following their evidence, and go with it.
    """
    words: dict[str, str] = {name: texts.get(name, getattr(item, name)) for name in _TEXTS}
    lesson = lesson_of(kind=item.kind, scope=item.scope, **words)
    new = {name: text for name in _TEXTS if (text := getattr(lesson, name)) != getattr(item, name)}
    return _about(item, "UPDATE", "text" if new.get("description", "-") else "bare", **new)


def pinning(item: MemoryItem, *, is_pinned: bool = True) -> Delta:
    """Keep an item active whatever counters and budget say, or stop doing so."""
    return _about(item, "UPDATE", "pin" if is_pinned else "unpin")


def retiring(item: MemoryItem) -> Delta:
    """Take an item out of use."""
    return _about(item, "SUPERSEDE", "retire")


def quarantining(target: MemoryItem | str) -> Delta:
    """Shut out an item, or all that a source system (the part of a trajectory's uid before the colon) said."""
    if isinstance(target, MemoryItem):
        return _about(target, "SUPERSEDE", "quarantine")
    return _unsigned(op="SUPERSEDE", domain="", target=SOURCE + _source_name(target), value="quarantine")


def restoring(target: MemoryItem | str) -> Delta:
    """Undo a retirement or a quarantine, of an item or of a source system."""
    if isinstance(target, MemoryItem):
        return _about(target, "UPDATE", "restore")
    return _unsigned(op="UPDATE", domain="", target=SOURCE + _source_name(target), value="restore")


def lesson_of(*, kind: str, scope: str, title: str, description: str, content: str) -> Lesson:
    """A lesson as a person gave it, without secrets.

    Raises:
        InputError: the kind is none, title or content is empty, or the words are too many.
    """
    texts = {"title": title, "description": description, "content": content}
    for name in ("title", "content"):
        if not texts[name].strip():
            raise InputError(f"the {name} is empty", expected="a lesson in words", remedy=f"give --{name}")
    if (n := sum(map(len, texts.values()))) > _MOST_CHARACTERS:
        expected, remedy = f"at most {_MOST_CHARACTERS}", "say one thing in it; several lessons are several items"
        raise InputError(f"the lesson has {n} characters", expected=expected, remedy=remedy)
    clean = {name: redact(text)[0] for name, text in texts.items()}
    try:
        return Lesson.model_validate({"kind": kind, "scope": scope, **clean})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))} is {first['input']!r}", expected=first["msg"]) from error


def _source_name(text: str) -> str:
    name = text.removeprefix(SOURCE)
    if not name.strip() or ":" in name:
        raise InputError(f"{text!r} is no source system", expected="what stands before the colon of a trajectory's uid")
    return name


def _about(item: MemoryItem, op: str, value: str, **texts: str) -> Delta:
    place = {"domain": item.domain, "scope": item.scope, "kind": item.kind}
    return _unsigned(op=op, **place, target=item.item_id, value=value, **texts)


def _unsigned(**fields: object) -> Delta:
    """A person's delta before it has a time and a name."""
    beginning = date.min
    common = {"day": beginning, "effective_day": beginning, "task_id": "", "trace_uid": f"{HUMAN}:"}
    return Delta.model_validate({**common, "outcome": "unknown", "source": HUMAN, **fields})


def signed(edit: Delta, at: datetime) -> Delta:
    """The edit as made at a time: its day is that time's, its name the hash of all that it says."""
    at = at.astimezone(UTC)
    dated = edit.model_copy(update={"at": at, "day": at.date(), "effective_day": at.date(), "trace_uid": f"{HUMAN}:"})
    return dated.model_copy(update={"trace_uid": f"{HUMAN}:{_name(dated)}"})


def _name(edit: Delta) -> str:
    return content_hash(edit.model_dump(mode="json", exclude={"trace_uid"}))[:16]


# -- files ----------------------------------------------------------------------------------------------------------


def record(warehouse: Warehouse, edits: Sequence[Delta]) -> list[Delta]:
    """Sign edits with the present time and store them; a later one of them has the later time.

    The clock of a machine may be set back: the time is never before that of an edit of the same day.
    """
    now = datetime.now(UTC)
    times = [edit.at for edit in read_edits(warehouse, now.date()) if edit.at]
    first = max([now, *(time + timedelta(microseconds=1) for time in times)])
    done = [signed(edit, first + timedelta(microseconds=k)) for k, edit in enumerate(edits)]
    for edit in done:
        write_atomically(_path(warehouse, edit), edit.model_dump_json(indent=1))
    return done


def _path(warehouse: Warehouse, edit: Delta) -> Path:
    return warehouse.path(EDITS, str(edit.day)) / f"{edit.trace_uid.removeprefix(f'{HUMAN}:')}.json"


def purge_edits(warehouse: Warehouse, uids: Collection[str]) -> None:
    """Remove edits as if nobody had made them: undoing an edit keeps its words."""
    for edit in every_edit(warehouse):
        if edit.trace_uid in uids:
            path = _path(warehouse, edit)
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def read_edits(warehouse: Warehouse, day: date) -> list[Delta]:
    """The edits made on a day, in the order of their names.

    Raises:
        LineageError: a file was changed after it was written, or moved to another day.
    """
    return [_read(path, day) for path in sorted(warehouse.path(EDITS, str(day)).glob("*.json"))]


def _read(path: Path, day: date) -> Delta:
    try:
        edit = Delta.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise LineageError(f"{path} is no edit", remedy="remove the file; edit with `synde memory`") from error
    is_own = edit.at is not None and edit == signed(edit, edit.at) and edit.trace_uid == f"{HUMAN}:{path.stem}"
    if not is_own or edit.day != day:
        raise LineageError(
            f"{path} is not as it was written",
            expected="an edit in the folder of its day, named by the hash of what it says",
            remedy="put the file back or remove it; make a new edit with `synde memory`",
        )
    return edit


def edits_hash(warehouse: Warehouse, day: date) -> str:
    """Hash of the day's edits by their names, which say all; empty for a day without any."""
    names = sorted(path.stem for path in warehouse.path(EDITS, str(day)).glob("*.json"))
    return content_hash(names) if names else ""


def every_edit(warehouse: Warehouse, as_of: date = date.max) -> list[Delta]:
    """All edits until a day, by day.

    Raises:
        LineageError: an edit was tampered with.
    """
    return [edit for day in edit_days(warehouse) if day <= as_of for edit in read_edits(warehouse, day)]


def source_edits(warehouse: Warehouse, as_of: date = date.max) -> list[Delta]:
    """People's edits about source systems until a day, in the order in which they count.

    Raises:
        LineageError: an edit was tampered with.
    """
    found = [(edit.at, edit.delta_id, edit) for edit in every_edit(warehouse, as_of) if edit.target.startswith(SOURCE)]
    return [edit for *_, edit in sorted(found, key=lambda one: one[:2])]


def quarantined_sources(warehouse: Warehouse, as_of: date) -> frozenset[str]:
    """Source systems that a person had shut out by a day.

    Raises:
        LineageError: an edit was tampered with.
    """
    return shut_out((edit.target, edit.value) for edit in source_edits(warehouse, as_of))


def edit_days(warehouse: Warehouse) -> list[date]:
    """Days on which somebody edited, sorted."""
    folders = {path.parent.name for path in (warehouse.root / EDITS).glob("day=*/*.json")}
    return sorted(date.fromisoformat(name.removeprefix("day=")) for name in folders)

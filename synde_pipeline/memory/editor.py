"""Applying people's edits: they are stored, then the memory of their day is published, so that `recall` sees them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.lease import lease
from synde_pipeline.lineage import fresh_header
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.logs.tombstones import refuse_while_removing
from synde_pipeline.memory.curate import Bank
from synde_pipeline.memory.daily import MEMORY, fresh_deltas, publish_deltas, publish_memory
from synde_pipeline.memory.edits import EDITS, adding, edit_days, every_edit, record, rewriting
from synde_pipeline.memory.playbooks import Entry
from synde_pipeline.records import Delta, Lesson, MemoryItem, content_hash, place_of
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import reflect_without_calls
from synde_pipeline.reflection.injection import why_suspect
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse

_SHORTEST_ID = 4
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,40}")


def apply_edits(warehouse: Warehouse, settings: Settings, edits: Sequence[Delta]) -> list[Delta]:
    """Store edits as made now, and publish the memory of today; returns them with their times.

    A kill in between loses no edit: the next edit, or `synde run`, publishes it.

    Raises:
        RemovalError: a removal is under way.
    """
    with lease(warehouse.root, EDITS, timeout_s=600):
        refuse_while_removing(warehouse)  # a removal begins under this lease too: no edit gets lost in its copy
        done = record(warehouse, edits)
        for day in sorted({edit.day for edit in done}):
            publish_day(warehouse, settings, day)
    return done


def settle(warehouse: Warehouse, settings: Settings) -> None:
    """Publish edits that a kill left stored and unpublished: what is planned next must know them."""
    with lease(warehouse.root, EDITS, timeout_s=600):
        for day in edit_days(warehouse):
            held = warehouse.header(MEMORY, str(day))
            try:
                is_there = held is not None and held.content_hash == fresh_deltas(warehouse, day).content_hash
            except LineageError:
                is_there = False
            if not is_there:
                refuse_while_removing(warehouse)
                publish_day(warehouse, settings, day)


def publish_day(warehouse: Warehouse, settings: Settings, day: date) -> None:
    """Publish the memory of a day, and what it is made from where that is not there: a day may be without logs.

    No language model is asked: logs that none has read yet wait for `synde run`, and the day is stale until then.
    """
    if warehouse.header(RAW_LOGS, str(day)) is None:
        publish_raw_logs(warehouse, day)
    try:
        fresh_header(warehouse, REFLECTIONS, str(day), {RAW_LOGS: str(day)})
    except LineageError:
        reflect_without_calls(warehouse, day, settings)
    publish_deltas(warehouse, day, settings.memory)
    publish_memory(warehouse, day)


def find_item(bank: Bank, name: str) -> MemoryItem:
    """The item with an id, or whose id begins with these (4 or more) digits; of a merged item, what it became.

    Raises:
        InputError: no item, or several, have that name.
    """
    found: dict[str, MemoryItem] = {}
    for item in every_item(bank):
        for item_id in (item.item_id, *item.merged):
            if item_id == name:
                return item
            if len(name) >= _SHORTEST_ID and item_id.startswith(name):
                found[item.item_id] = item
    if len(found) != 1:
        raise InputError(
            f"{name!r} is the id of {f'{len(found)} items' if found else 'no item'} as of {bank.as_of}",
            expected=", ".join(sorted(found)[:5]) or "an item's id, or 4 or more of its first digits",
            remedy="`synde memory list` shows ids",
        )
    return next(iter(found.values()))


def edits_about(warehouse: Warehouse, item: MemoryItem) -> list[Delta]:
    """People's edits of an item and of what was merged into it, oldest first."""
    ids = {item.item_id, *item.merged}
    mine = [edit for edit in every_edit(warehouse) if (edit.target or _added_id(edit)) in ids]
    return sorted(mine, key=lambda edit: (edit.at or datetime.min.replace(tzinfo=UTC), edit.delta_id))


def _added_id(edit: Delta) -> str:
    names = ("kind", "scope", "title", "description", "content")
    return item_id_of(Lesson.model_validate({name: getattr(edit, name) for name in names}), edit.domain)


def item_id_of(lesson: Lesson, domain: str) -> str:
    """Id of the item that a lesson becomes."""
    kind = () if place_of(lesson.scope) else (lesson.kind,)
    return content_hash([domain, *kind, lesson.scope, lesson.title])[:16]


@dataclass(frozen=True)
class ImportPlan:
    """What importing lessons would do."""

    edits: tuple[Delta, ...]
    added: tuple[str, ...]
    """Ids of items that are new."""
    changed: tuple[str, ...]
    """Ids of items that get other words."""
    n_same: int
    """Lessons that are there already, word for word, or twice in the file."""
    n_inactive: int
    """Lessons that the file itself says are not active; they are left out."""
    suspects: tuple[tuple[str, str], ...] = ()
    """Ids of added or changed items that read like an attack, and why; a person's word is taken all the same."""


def plan_import(bank: Bank, entries: Sequence[Entry], domain: str | None = None) -> ImportPlan:
    """Compare lessons with a bank: by their id where they have one, else by domain, kind, scope and title.

    Args:
        bank: as of today.
        entries: lessons of a file.
        domain: of the lessons whose file names none.

    Raises:
        InputError: a lesson has no domain, or the name of a domain is none.
    """
    known = {item.item_id: item for item in every_item(bank)}
    merged = {item_id for item in known.values() for item_id in item.merged}
    edits, added, changed, seen, suspects = [], [], [], set[str](), []
    for entry in filter(lambda entry: entry.is_active, entries):
        lesson, where = entry.lesson, checked_domain(entry.domain or domain or "")
        item_id = entry.item_id if entry.item_id in known else item_id_of(lesson, where)
        if item_id in seen | merged:
            continue
        seen.add(item_id)
        item = known.get(item_id)
        if item is None:
            added.append(item_id)
            edits.append(adding(lesson, where))
        elif (texts := _texts(lesson)) != _texts(item):
            changed.append(item_id)
            edits.append(rewriting(item, texts))
        else:
            continue
        if why := why_suspect("\n".join(_texts(lesson).values())):
            suspects.append((item_id, why))
    n_active = sum(entry.is_active for entry in entries)
    n_same = n_active - len(added) - len(changed)
    return ImportPlan(tuple(edits), tuple(added), tuple(changed), n_same, len(entries) - n_active, tuple(suspects))


def _texts(lesson: Lesson | MemoryItem) -> dict[str, str]:
    return {name: getattr(lesson, name) for name in ("title", "description", "content")}


def checked_domain(name: str) -> str:
    """The name, if a domain can have it.

    Raises:
        InputError: it cannot.
    """
    if not _DOMAIN.fullmatch(name):
        raise InputError(
            f"{name!r} is no domain" if name else "the domain is missing",
            expected="lower-case letters, digits and underscores, as in the logs",
            remedy="give --domain",
        )
    return name


def every_item(bank: Bank) -> Iterable[MemoryItem]:
    """All items of a bank, those that are not active too."""
    yield from bank.items
    yield from bank.others


def today() -> date:
    """The day (UTC) on which an edit is made now."""
    return datetime.now(UTC).date()

"""What single runs and people say -> draft items: ADDs of one subject become one, and so do subjects that say the same.

A person's ADD gives the words of its subject; of several the last one.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date

from synde_pipeline.memory.dedupe import dedupe_text, merge_groups
from synde_pipeline.memory.embed import EmbedKeys
from synde_pipeline.memory.sources import persons_word, supports_of
from synde_pipeline.records import Delta, MemoryItem, content_hash

_BEST = 2
"""Pieces of advice that one item lists."""
_MOST_UNSAID = 8
"""Other descriptions and advice that an item keeps."""


def item_of(like: Delta, kind: str, scope: str, texts: tuple[str, str, str], rows: Sequence[Delta]) -> MemoryItem:
    """An item of the domain of `like`, resting on rows; texts are title, description, content."""
    title, description, content = texts
    return MemoryItem(
        item_id=content_hash([like.domain, kind, scope, title])[:16],
        domain=like.domain,
        kind=kind,
        scope=scope,
        title=title,
        description=description,
        content=content,
        supports=supports_of(rows),
    )


def lessons(adds: Iterable[Delta], embed: EmbedKeys, same: float) -> list[MemoryItem]:
    """One item for each subject (kind, scope, title); those that say the same are one, the survivor of their cluster.

    Args:
        adds: ADD rows of one kind and scope of a domain, in canonical order.
        embed: embeds what the items say.
        same: cosine from which on two may say the same.
    """
    subjects: dict[str, list[Delta]] = defaultdict(list)
    for delta in adds:
        subjects[delta.title].append(delta)
    rows = [subjects[title] for title in sorted(subjects)]
    items = [_item(found) for found in rows]
    if len(items) < 2:
        return items
    clusters = merge_groups(items, embed([dedupe_text(item) for item in items]), same)
    return [_joined([rows[k] for k in cluster], [items[k] for k in cluster]) for cluster in clusters]


def _joined(rows: Sequence[list[Delta]], items: Sequence[MemoryItem]) -> MemoryItem:
    """A cluster as one item: a person's subject survives before the first one, whose words it keeps otherwise."""
    if len(items) == 1:
        return items[0]
    first = next((k for k, found in enumerate(rows) if persons_word(found)), 0)
    others = [k for k in range(len(items)) if k != first]
    joined = _item(rows[first], [row for k in others for row in rows[k]])
    return joined.model_copy(update={"merged": tuple(sorted(items[k].item_id for k in others))})


def _item(rows: Sequence[Delta], alike: Sequence[Delta] = ()) -> MemoryItem:
    """The item of one subject, which rows that say the same support too."""
    like = rows[0]
    person = persons_word(rows)
    texts = (person.title, person.description, person.content) if person else _advice(rows, alike)
    item = item_of(like, like.kind, like.scope, texts, [*rows, *alike])
    others = [*_ranked(rows, "description"), *_ranked(rows, "content")[0 if person else _BEST :]]
    unsaid = [text for text in dict.fromkeys(others) if text and text not in texts][:_MOST_UNSAID]
    return item.model_copy(update={"unsaid": tuple(unsaid)}) if unsaid else item


def _advice(rows: Sequence[Delta], alike: Sequence[Delta]) -> tuple[str, str, str]:
    """Title, description, and each piece of advice with its tasks, best supported first; who says the same backs it."""
    ranked = _ranked(rows, "content")[:_BEST]
    backing = {content: {row.task_id for row in rows if row.content == content} for content in ranked}
    backing[ranked[0]] |= {row.task_id for row in alike}
    n_tasks = len({row.task_id for row in (*rows, *alike)})
    content = " ".join(f"{text} ({len(tasks)} of {n_tasks} tasks)" for text, tasks in backing.items())
    return rows[0].title, _ranked(rows, "description")[0], content


def _ranked(rows: Sequence[Delta], name: str) -> list[str]:
    """Distinct texts of a field: what most tasks say first, then what was said last."""
    tasks: dict[str, set[str]] = defaultdict(set)
    last: dict[str, date] = {}
    for row in rows:
        text = getattr(row, name)
        tasks[text].add(row.task_id)
        last[text] = max(row.effective_day, last.get(text, date.min))
    return sorted(tasks, key=lambda text: (-len(tasks[text]), -last[text].toordinal(), text))

"""What single runs say -> draft items: ADDs of one subject become one item. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from synde_pipeline.memory.places import supports_of
from synde_pipeline.records import Delta, MemoryItem, content_hash


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


def lessons(adds: Iterable[Delta]) -> Iterable[MemoryItem]:
    """ADDs of one subject become one item that lists each piece of advice with its tasks, best supported first."""
    groups: dict[tuple[str, str, str, str], list[Delta]] = defaultdict(list)
    for delta in adds:
        groups[delta.domain, delta.kind, delta.scope, delta.title].append(delta)
    for (_, kind, scope, title), rows in groups.items():
        tasks = {row.task_id for row in rows}
        advice = Counter(content for content, _ in {(row.content, row.task_id) for row in rows})
        ranked = sorted(advice.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
        content = " ".join(f"{text} ({n} of {len(tasks)} tasks)" for text, n in ranked)
        yield item_of(rows[0], kind, scope, (title, rows[0].description, content), rows)

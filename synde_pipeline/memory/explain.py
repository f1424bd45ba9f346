"""Why memory says to a task what it says, as one object: the items, where each comes from, and what kept others out."""

from collections import Counter
from datetime import date
from typing import Any

from synde_pipeline.memory.curate import Bank
from synde_pipeline.memory.retrieve import Memory, Query
from synde_pipeline.memory.select import Answer, Recalled


def told(query: Query, answer: Answer) -> dict[str, Any]:
    """A query and its answer; ids are the same in every run."""
    return {
        "task": query.task,
        "domain": query.domain,
        "scope": query.scope,
        "as_of": str(query.as_of),
        "without_task": query.without_task,
        "items": [_item(one) for one in answer.shown],
    }


def _item(one: Recalled) -> dict[str, Any]:
    item = one.item
    return {
        "id": item.item_id,
        "version": item.version,
        "kind": item.kind,
        "scope": item.scope,
        "title": item.title,
        "description": item.description,
        "content": item.content,
        "score": one.score,
        "reason": one.reason,
        "tasks": len(item.task_ids),
        "helpful": item.helpful,
        "harmful": item.harmful,
        "neutral": item.neutral,
        "pinned": item.pinned,
    }


def explained(memory: Memory, query: Query, answer: Answer) -> dict[str, Any]:
    """What an answer rests on.

    Returns:
        bank: what was asked (hash, items, deltas). supports: item id -> the runs behind it. passed_over: items that
        were near enough. left_out: why how many of all items that are known today were not looked at.
    """
    bank = memory.bank(query.as_of, without_task=query.without_task)
    shown = [one.item for one in answer.shown]
    over = [
        {"id": one.item.item_id, "title": one.item.title, "score": one.score, "reason": one.reason}
        for one in answer.passed_over
    ]
    return {
        "bank": {"hash": bank.bank_hash, "items": len(bank.items), "deltas": bank.n_deltas},
        "supports": {item.item_id: [support.model_dump() for support in item.supports] for item in shown},
        "passed_over": over,
        "left_out": _left_out(memory, query, bank, answer),
    }


def _left_out(memory: Memory, query: Query, bank: Bank, answer: Answer) -> dict[str, int]:
    counts: Counter[str] = Counter()
    seen = {one.item.item_id for one in (*answer.shown, *answer.passed_over)}
    for item in (*bank.items, *bank.others):
        if item.domain != query.domain:
            counts["other_domain"] += 1
        elif item.status != "active":
            counts[item.status] += 1
        elif item.place and item.scope != query.scope:
            counts["other_place"] += 1
        elif item.item_id not in seen:
            counts["not_among_the_nearest"] += 1
    here = _ids(bank, query.domain)
    with_task = _ids(memory.bank(query.as_of), query.domain)
    later = _ids(memory.bank(date.max), query.domain)
    counts["rests_on_this_task"] = len(with_task - here)
    counts["not_known_yet"] = len(later - with_task - here)
    return {reason: n for reason, n in sorted(counts.items()) if n}


def _ids(bank: Bank, domain: str) -> set[str]:
    """Items of all standings."""
    return {item.item_id for item in (*bank.items, *bank.others) if item.domain == domain}

"""One reflection -> the rows that it adds to the memory's ledger."""

from datetime import date

from synde_pipeline.records import Delta, Reflection, place_of, split_of

_VERDICTS = {"success": "helpful", "failure": "harmful"}
"""Outcome -> what it says of the items that were shown; other outcomes are neutral."""


def deltas_of(reflection: Reflection, day: date) -> list[Delta]:
    """The deltas of one reflection: an ADD per lesson, a TAG per item shown, one EVIDENCE row.

    None unless its task is for training. Tags follow from the outcome alone, never from a reflector's words. A run that
    taught something about a place is evidence there, not all over its domain.
    """
    if split_of(reflection.task_id) != "train":
        return []
    common = {
        "day": day,
        "effective_day": reflection.effective_day,
        "domain": reflection.domain,
        "task_id": reflection.task_id,
        "trace_uid": reflection.trace_uid,
        "outcome": reflection.outcome,
        "source": reflection.engine,
    }
    adds = [Delta(op="ADD", **common, **lesson.model_dump()) for lesson in reflection.lessons]
    verdict = _VERDICTS.get(reflection.outcome, "neutral")
    shown = tuple(dict.fromkeys(reflection.shown))
    tags = [Delta(op="TAG", **common, target=item, value=verdict) for item in shown]
    evidence = Delta(
        op="EVIDENCE",
        **common,
        scope=next((lesson.scope for lesson in reflection.lessons if place_of(lesson.scope)), ""),
        content=reflection.task,
        path=reflection.path,
        shown=shown,
        n_tool_errors=reflection.n_tool_errors,
        n_repeated_failures=reflection.n_repeated_failures,
        features=reflection.features,
    )
    return [*adds, *tags, evidence]

"""Random sets of deltas with all operations, for the laws of the fold."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.records import Delta, content_hash
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import DAY

CONFIG = MemoryConfig(embedder="hashing", max_tokens=24, retire=0.6, same=0.8, trust={"dubious": 0.1})
"""Thresholds that small ledgers cross: budget, retirement, merging and trust all have something to do."""
EMBED = HashingEmbedder().embed
DOMAINS = ("library", "airline")
PLACE = "site:zormek"
TITLES = ("check the fine before you renew", "check the fine before the renewal", "never pay the fine twice")
TOOLS = ("nav", "extract")
TASKS = tuple(f"test:library:t{k}" for k in range(5))
LAST = DAY + timedelta(4)

_LESSONS = [
    (kind, scope, title) for kind in ("strategy", "pitfall") for scope in ("", "tool:renew") for title in TITLES
]
_IDS = [content_hash([domain, *lesson])[:16] for domain in DOMAINS for lesson in _LESSONS]
_IDS += [content_hash([domain, PLACE, tool])[:16] for domain in DOMAINS for tool in TOOLS]
_IDS += [content_hash(["library", "workflow", "tool:renew", "How to renew"])[:16], "nobody knows this"]

days = st.integers(0, 4).map(lambda k: DAY + timedelta(k))
targets = st.sampled_from(_IDS[:4] * 4 + _IDS) | st.sampled_from([f"{_IDS[0]}@0badcafe", f"{_IDS[-4]}@0badcafe"])


@st.composite
def _run(draw) -> list[Delta]:
    """What one run leaves: lessons, a tag for each item shown, evidence; perhaps a machine's wish to change an item."""
    day, task = draw(days), draw(st.sampled_from(TASKS))
    source, outcome = (
        draw(st.sampled_from(["test", "test", "dubious", "other"])),
        draw(st.sampled_from(["success", "failure", "failure", "unknown"])),
    )
    at_place = draw(st.booleans())
    shown = tuple(draw(st.lists(targets, max_size=3, unique=True)))
    common = {
        "day": day,
        "effective_day": day + timedelta(draw(st.sampled_from([0, 0, 0, 1, 2]))),
        "domain": draw(st.sampled_from(["library", *DOMAINS])),
        "task_id": task,
        "trace_uid": f"{source}:{draw(st.integers(0, 30))}",
        "outcome": outcome,
    }
    verdict = {"success": "helpful", "failure": "harmful"}.get(outcome, "neutral")
    rows = [Delta(op="ADD", **common, **draw(_lesson(at_place))) for _ in range(draw(st.integers(0, 3)))]
    rows += [Delta(op="TAG", **common, target=target, value=verdict) for target in shown]
    rows += [Delta(**_change(draw), **common) for _ in range(draw(st.sampled_from([0, 0, 0, 1])))]
    path = tuple(draw(st.lists(st.sampled_from(["find", "pay", "renew"]), max_size=3)))
    scope = PLACE if at_place else ""
    task_text = draw(st.sampled_from(["please renew", "pay my fine"]))
    return [*rows, Delta(op="EVIDENCE", **common, scope=scope, content=task_text, path=path, shown=shown)]


@st.composite
def _lesson(draw, at_place: bool) -> dict[str, str]:
    suspect = draw(st.sampled_from(["", "", "", "it gives orders"]))
    if at_place:
        title, content = draw(st.sampled_from(TOOLS)), draw(st.sampled_from(["browse", "search"]))
        kind = draw(st.sampled_from(["strategy", "pitfall"]))
        return {"kind": kind, "scope": PLACE, "title": title, "description": "", "content": content, "suspect": suspect}
    kind, scope, title = draw(st.sampled_from(_LESSONS))
    content = draw(st.sampled_from(["call loan first", "look at the loan"]))
    return {
        "kind": kind,
        "scope": scope,
        "title": title,
        "description": "when due",
        "content": content,
        "suspect": suspect,
    }


def _change(draw) -> dict[str, str]:
    target = draw(targets)
    if draw(st.booleans()):
        ends = st.sampled_from(["retire", "quarantine", _IDS[1], "nobody either"])
        return {"op": "SUPERSEDE", "target": target, "value": draw(ends)}
    value = draw(st.sampled_from(["text", "text", "pin", "unpin", "restore"]))
    texts = {"title": draw(st.sampled_from(["", "new title"])), "content": draw(st.sampled_from(["", "new content"]))}
    return {"op": "UPDATE", "target": target, "value": value, **(texts if value == "text" else {})}


@st.composite
def _edit(draw) -> Delta:
    """A person's delta."""
    day = draw(days)
    change = draw(st.sampled_from(["change", "change", "add", "source"]))
    if change == "add":
        what = {"op": "ADD", **draw(_lesson(draw(st.booleans()))), "suspect": ""}
    elif change == "source":
        op, value = draw(st.sampled_from([("SUPERSEDE", "quarantine"), ("UPDATE", "restore")]))
        what = {"op": op, "target": f"source:{draw(st.sampled_from(['test', 'other']))}", "value": value}
    else:
        what = _change(draw)
    at = datetime(day.year, day.month, day.day, draw(st.integers(0, 2)), tzinfo=UTC) if draw(st.booleans()) else None
    uid, domain = f"human:{draw(st.integers(0, 200))}", draw(st.sampled_from(DOMAINS))
    common = {"day": day, "effective_day": day, "domain": domain, "task_id": "", "outcome": "unknown"}
    return Delta(**common, trace_uid=uid, source="human", at=at, **what)


ledgers = st.tuples(st.lists(_run(), max_size=14), st.lists(_edit(), max_size=4)).map(
    lambda found: [*(row for run in found[0] for row in run), *found[1]]
)

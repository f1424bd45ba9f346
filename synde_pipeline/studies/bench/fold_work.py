"""A large ledger for `synde bench fold`: a table of deltas as the store keeps them, and the vectors of its lessons."""

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synde_pipeline.memory.dedupe import dedupe_text
from synde_pipeline.memory.lessons import item_of
from synde_pipeline.memory.store import DELTAS
from synde_pipeline.records import Delta, MemoryItem, content_hash

START = date(2024, 1, 1)
N_DAYS = 730
_DOMAINS, _SCOPES, _KINDS = 10, 25, ("strategy", "pitfall", "workflow", "note")
_ADDS_EACH = 3
"""ADDs of one subject, each of another task."""
_EDITS = 0.1
"""Share of UPDATEs among the rows that are no ADD."""
_ALIKE = 0.2
"""Share of subjects that say again what another one says."""
_EMPHASIS = " !"
_DIM = 384
_WORDS = [
    f"{verb} {noun}" for verb in ("check", "list", "fetch", "cancel", "confirm") for noun in ("order", "seat", "page")
]


@dataclass(frozen=True)
class Work:
    """The ledger, and what folding needs."""

    table: pa.Table
    vectors: dict[str, NDArray[np.float32]]
    """What a lesson says -> unit vector, (384,)."""

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """The vectors of lessons, which are given."""
        return np.stack([self.vectors[text] for text in texts])

    def on(self, day: date) -> pa.Table:
        """The rows of one day."""
        return self.table.filter(pa.array(self.table["day"].to_numpy() == np.datetime64(day)))


def work(n_deltas: int, n_adds: int, seed: int = 0) -> Work:
    """A ledger of two years: lessons in ten domains, and what became of the runs that were shown them."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)  # noqa: S311 - no secret
    subjects = _subjects(n_adds // _ADDS_EACH, rng)
    rows = [_add(rng.choice(subjects) if k >= len(subjects) else subjects[k], k, rng) for k in range(n_adds)]
    likes = [Delta.model_validate(subject | _run(0, rng) | {"op": "ADD"}) for subject in subjects]
    items = [
        item_of(like, like.kind, like.scope, (like.title, like.description, like.content), [like]) for like in likes
    ]
    vectors: dict[str, NDArray[np.float32]] = {}
    for item in items:
        vectors[dedupe_text(item)] = _unit(numbers, vectors.get(dedupe_text(_without_emphasis(item))))
    rows += [_mark(rng.choice(items), k, rng) for k in range(n_deltas - n_adds)]
    return Work(_table(rows), vectors)


def _without_emphasis(item: MemoryItem) -> MemoryItem:
    return item.model_copy(update={"title": item.title.removesuffix(_EMPHASIS)})


def _subjects(n: int, rng: random.Random) -> list[dict[str, Any]]:
    """Lessons; some say again what another one says."""
    found: list[dict[str, Any]] = []
    for k in range(n):
        if found and rng.random() < _ALIKE:
            said = rng.choice(found)
            found.append(said | {"title": said["title"].removesuffix(_EMPHASIS) + _EMPHASIS})
            continue
        about = {"domain": f"domain{k % _DOMAINS}", "scope": f"tool:tool{k // _DOMAINS % _SCOPES}"}
        words = [" ".join(rng.choices(_WORDS, k=n)) for n in (6, 6, 10)]
        texts = dict(zip(("title", "description", "content"), words, strict=True))
        found.append(about | {"kind": rng.choice(_KINDS), **texts})
    return found


def _run(k: int, rng: random.Random) -> dict[str, Any]:
    day = START + timedelta(rng.randrange(N_DAYS))
    outcome = rng.choice(("success", "failure"))
    task = f"bench:domain:{rng.randrange(200_000)}"
    return {"day": day, "effective_day": day, "outcome": outcome, "task_id": task, "trace_uid": f"bench:{k}"}


def _add(subject: dict[str, Any], k: int, rng: random.Random) -> dict[str, Any]:
    return {"op": "ADD", "source": "rules", **_run(k, rng), **subject}


def _mark(item: MemoryItem, k: int, rng: random.Random) -> dict[str, Any]:
    about = _run(10**7 + k, rng) | {"domain": item.domain, "target": item.item_id}
    if rng.random() >= _EDITS:
        value = "helpful" if about["outcome"] == "success" else "harmful"
        return about | {"op": "TAG", "source": "rules", "value": value}
    text = {"value": "text", "content": " ".join(rng.choices(_WORDS, k=20))}
    return about | {"op": "UPDATE", "source": rng.choice(("human", "llm")), **text}


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as the store keeps them; ids are made from positions, which hash faster than rows."""
    empty = {field.name: _empty(field) for field in DELTAS if field.name != "vector"}
    columns = {name: [row.get(name, value) for row in rows] for name, value in empty.items()}
    columns["delta_id"] = [content_hash(k) for k in range(len(rows))]
    schema = pa.schema([field for field in DELTAS if field.name != "vector"])
    return pa.table(columns, schema)


def _empty(field: pa.Field) -> Any:
    if field.nullable:
        return None
    return 0 if pa.types.is_integer(field.type) else [] if pa.types.is_list(field.type) else ""


def _unit(numbers: np.random.Generator, near: NDArray[np.float32] | None) -> NDArray[np.float32]:
    vector = numbers.normal(size=_DIM) / np.sqrt(_DIM)
    vector = vector if near is None else near + 0.2 * vector
    return (vector / np.linalg.norm(vector)).astype(np.float32)

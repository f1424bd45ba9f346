"""Pairs of lessons labelled by hand: which say the same, and which only look alike.

Half of the first 248 were seen while the guard was written (by a hash of the pair); 68 more were written after it was
frozen. `guard` names why a pair must not merge; `other` are two lessons on one topic.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from synde_pipeline.records import MemoryItem, content_hash


@dataclass(frozen=True)
class Pair:
    same: bool
    part: str
    """development, held out or blind."""
    guard: str
    items: tuple[MemoryItem, MemoryItem]


def _pair(row: dict) -> Pair:
    digest = hashlib.sha256(json.dumps([row["a"], row["b"]]).encode("utf-8")).digest()
    is_development = digest[-1] % 2 == 0
    part = "blind" if row["blind"] else "development" if is_development else "held out"
    left, right = (
        MemoryItem(
            item_id=content_hash([row["domain"], *texts])[:16],
            domain=row["domain"],
            kind=row["kind"],
            scope=row["scope"],
            title=texts[0],
            description=texts[1],
            content=texts[2],
            supports=(),
        )
        for texts in (row["a"], row["b"])
    )
    return Pair(row["same"], part, row["guard"], (left, right))


PAIRS = [_pair(json.loads(line)) for line in Path(__file__).with_name("pairs.jsonl").read_text("utf-8").splitlines()]

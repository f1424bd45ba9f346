"""The nouns: frozen, validated records that travel between the stages.

Only data and the checks that make a record valid belong here; reading files is in `logs`, deciding is in the stages.
"""

from synde_pipeline.records.base import Record, UtcTime, canonical_json, content_hash
from synde_pipeline.records.memory import (
    Delta,
    Engine,
    Kind,
    Lesson,
    MemoryItem,
    Reflection,
    Status,
    Support,
    Tag,
    Verdict,
)
from synde_pipeline.records.trajectory import (
    INVALID,
    REPLY,
    SCHEMA_VERSION,
    LabelSource,
    Outcome,
    Split,
    Step,
    Trajectory,
    place_of,
    split_of,
)

__all__ = [
    "INVALID",
    "REPLY",
    "SCHEMA_VERSION",
    "Delta",
    "Engine",
    "Kind",
    "LabelSource",
    "Lesson",
    "MemoryItem",
    "Outcome",
    "Record",
    "Reflection",
    "Split",
    "Status",
    "Step",
    "Support",
    "Tag",
    "Trajectory",
    "UtcTime",
    "Verdict",
    "canonical_json",
    "content_hash",
    "place_of",
    "split_of",
]

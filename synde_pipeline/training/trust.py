"""Whom training listens to: a source system that a person shut out, or that the settings do not trust, enters no cycle.

The rule as it stood at an evaluation of the buffer is kept in the arrival journal, so that history is replayed by it.
It is the rule of memory and notes (`memory.sources`), read at the time of freezing instead of as of a day: what is
trained now obeys what is known of a source now, however old its logs are.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

from synde_pipeline.memory.edits import source_edits
from synde_pipeline.memory.sources import distrust, shut_out, source_of
from synde_pipeline.settings import MemoryConfig
from synde_pipeline.storage import Warehouse

_READ = {"trust", "min_trust", "guards"}
"""Settings that the rule depends on."""


class Said(NamedTuple):
    """What a person's edit says of a source system."""

    edit: str
    """Name of the edit, `human:<hash>`."""
    target: str
    value: str


@dataclass(frozen=True)
class Trust:
    """Which source systems are listened to."""

    edits: tuple[Said, ...] = ()
    """People's edits about sources, in the order in which they count."""
    config: MemoryConfig = field(default_factory=MemoryConfig)
    """Of the settings, how far a source is trusted."""

    @classmethod
    def now(cls, warehouse: Warehouse, config: MemoryConfig) -> Self:
        """As people and settings have it now.

        Raises:
            LineageError: an edit was tampered with.
        """
        edits = (Said(edit.trace_uid, edit.target, edit.value) for edit in source_edits(warehouse))
        return cls(tuple(edits), MemoryConfig(**config.model_dump(include=_READ)))

    @classmethod
    def recorded(cls, said: Mapping[str, Any]) -> Self:
        """As `for_json` wrote it down; everybody is trusted where nothing was."""
        rule = {name: said[name] for name in _READ & said.keys()}
        return cls(tuple(Said(*edit) for edit in said.get("edits", ())), MemoryConfig(**rule))

    def for_json(self) -> dict[str, Any]:
        """What differs from trusting everybody."""
        rule = self.config.model_dump(include=_READ, exclude_defaults=True)
        return rule | ({"edits": [list(edit) for edit in self.edits]} if self.edits else {})

    def without(self, uids: Collection[str]) -> Self:
        """As if some edits had never been made."""
        return replace(self, edits=tuple(said for said in self.edits if said.edit not in uids))

    @cached_property
    def quarantined(self) -> frozenset[str]:
        """Source systems that a person shut out."""
        return shut_out((said.target, said.value) for said in self.edits)

    def why_not(self, trace_uid: str) -> str:
        """Why a trajectory is not learned from; empty where it is."""
        return distrust(source_of(trace_uid), self.quarantined, self.config)


EVERYBODY = Trust()
"""Nobody was shut out."""

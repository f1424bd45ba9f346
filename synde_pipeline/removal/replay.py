"""Replaying history: the recorded arrivals once more, in their order, in a warehouse from which something was taken.

Planning, replay draws, training, gate and promotion run by the very functions that made history; what comes out with
the same inputs as before is taken over instead of trained again.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import ARTEFACT as BASE
from synde_pipeline.base_model import pinned
from synde_pipeline.evaluation.arms import REPORTS
from synde_pipeline.evaluation.due import due_cycles, standing
from synde_pipeline.evaluation.gate import decide
from synde_pipeline.evaluation.report import publish
from synde_pipeline.laboratory import base_data_for, report_of, scribe_for
from synde_pipeline.memory.edits import every_edit
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.compose import ADAPTERS
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.records import Trajectory
from synde_pipeline.reflection.daily import reflect_as_then
from synde_pipeline.removal.decisions import Decisions
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.arrivals import ARTEFACT as ARRIVALS
from synde_pipeline.training.arrivals import Arrival, Day, Known, append, arrival_of, arrivals, oldest_unfinished
from synde_pipeline.training.buffer import (
    SOURCE,
    View,
    freeze,
    next_keys,
    read_buffer,
    ready_domains,
)
from synde_pipeline.training.cycles import ARTEFACT as CYCLES
from synde_pipeline.training.cycles import Cycle, claimed_examples, cycles
from synde_pipeline.training.daily import SHARDS, ensure_base, publish_shard
from synde_pipeline.training.examples import Example, examples_of
from synde_pipeline.training.known import trajectories_at
from synde_pipeline.training.reconstruct import reconstructed
from synde_pipeline.training.timings import note_training

OF_CYCLES = (CYCLES, SHARDS, ADAPTERS, MERGED, REPORTS)
Judge = Callable[[Warehouse, Cycle, Settings], dict[str, Any]]
"""Makes the eval report of a cycle."""


@dataclass
class Replay:
    """History from one arrival on, made again."""

    old: Warehouse
    """As it is without the removal; only read."""
    new: Warehouse
    """A copy whose daily tables are without what goes; history is made here."""
    gone: frozenset[str]
    """Uids of the trajectories that go."""
    taken_out: frozenset[str]
    """Cycles, by their keys in the old warehouse, whose adapters a person took out, now or before."""
    adapter: str | None
    """The one of them that is taken out now."""
    settings: Settings
    say: Callable[[str], None]
    judge: Judge = report_of
    kept: Path | None = None
    """Adapters and models that a killed removal had made already."""
    frozen_at: dict[str, int] = field(default_factory=dict)
    """Cycle in the new warehouse -> arrival in the old one that froze it."""
    rebuilt: list[str] = field(default_factory=list)
    """Cycles that were trained again."""

    renamed: dict[str, str] = field(default_factory=dict)
    """Cycle in the old warehouse -> the one that the same arrival froze in the new one."""

    def __post_init__(self) -> None:
        due = [cycle.key for cycle in due_cycles(self.old)]
        known = arrivals(self.old)
        self.journal = known or reconstructed(self.old, self.settings.buffer, self.old.keys(SOURCE), due)
        self.decisions = Decisions(self.old, self.new, self.renamed)
        self.due = oldest_unfinished(self.journal, due)

    # -- where it starts ------------------------------------------------------------------------------------------

    @property
    def is_base_affected(self) -> bool:
        """Whether the base was built from what goes."""
        header = self.old.header(BASE, "")
        return header is not None and bool(self.gone & set(header.info.get("trajectories", ())))

    def first(self) -> int:
        """The arrival from which on history is another one; one behind the last where none is."""
        if self.is_base_affected:
            return 1
        numbers = [arrival_of(self.journal, self.adapter) if self.adapter else None]
        numbers += [a.number for a in self.journal if any(self.gone & found.keys() for found in a.days.values())]
        edited = min((str(edit.day) for edit in every_edit(self.old) if edit.trace_uid in self.gone), default=None)
        numbers += [a.number for a in self.journal if edited and max(a.days, default="") > edited]
        numbers += [a.number for a in self.journal if a.trust != a.trust.without(self.gone)]
        return min([number for number in numbers if number is not None], default=len(self.journal) + 1)

    def rewind(self, first: int) -> None:
        """Take the new warehouse back to before an arrival: its journal, cycles, decisions, if need be its base."""
        if self.is_base_affected:
            shutil.rmtree(self.new.path(BASE))
        shutil.rmtree(self.new.path(ARRIVALS), ignore_errors=True)
        for record in self.journal:
            if record.number < first:
                append(self.new, record)
        keys = {cycle.key for cycle in cycles(self.old)}
        named = {key for record in self.journal if record.number < first for key in record.frozen}
        for key in keys - named:
            for artefact in OF_CYCLES:
                shutil.rmtree(self.new.path(artefact, key), ignore_errors=True)
        self.frozen_at = {key: arrival_of(self.journal, key) or 0 for key in keys & named}
        self.renamed |= {key: key for key in keys & named}
        self.decisions.rewind()

    # -- going on -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Make history again from the first arrival that held what goes."""
        first = self.first()
        self.rewind(first)
        for record in self.journal:
            if record.number >= first:
                self._settle(record.unfinished)
                self._arrive(record)
        self._settle(self.due)
        self.decisions.finish()

    def _settle(self, unfinished: Mapping[str, int]) -> None:
        """Train and judge what had been trained and judged by then, oldest first."""
        for cycle in cycles(self.new):
            if self._was_settled(cycle.key, unfinished) and cycle.key not in self._finished():
                self._train(cycle)

    def _was_settled(self, key: str, unfinished: Mapping[str, int]) -> bool:
        domain = key.rsplit("-", 1)[0]
        return domain not in unfinished or self.frozen_at[key] < unfinished[domain]

    def _finished(self) -> set[str]:
        return set(self.new.keys(REPORTS))

    def _arrive(self, record: Arrival) -> None:
        journal = arrivals(self.new)
        before = Known.by(journal)
        days = {day: {u: h for u, h in found.items() if u not in self.gone} for day, found in record.days.items()}
        days = {day: found for day, found in days.items() if found != before.days.get(day, {})}
        known = {**before.days, **days}
        settled = {key for key in self.frozen_at if self._was_settled(key, record.unfinished)}
        rejected = standing(self.new).rejected & settled - self._out()
        stale = frozenset(record.stale)
        uids = frozenset(uid for found in known.values() for uid in found)
        view = View(uids, stale, self._contents(known, record.number))
        trust = record.trust.without(self.gone)
        buffer = read_buffer(self.new, rejected, view, trust=trust)
        ready = ready_domains(buffer, record.config, record.forced)
        if not days and not ready:
            return
        number = 1 + (journal[-1].number if journal else 0)
        keys = next_keys(self.new, ready)
        open_cycles = [key for key in self.frozen_at if key not in settled]
        append(
            self.new,
            Arrival(
                number=number,
                days=days,
                config=record.config,
                forced=record.forced,
                frozen=keys,
                stale=tuple(day for day in record.stale if day in known),
                unfinished=oldest_unfinished(journal, open_cycles),
                sources=self._sources(days, record),
                trust=trust,
                is_reconstructed=record.is_reconstructed,
            ),
        )
        for cycle in freeze(self.new, keys, buffer):
            self.frozen_at[cycle.key] = record.number
            self.renamed |= {key: cycle.key for key in record.frozen if key.rsplit("-", 1)[0] == cycle.domain}

    def _sources(self, days: Mapping[str, Mapping[str, str]], record: Arrival) -> dict[str, str]:
        """Hashes of raw logs by which later readers see that nothing changed; none where it did."""
        found = {}
        for day in days:
            if set(days[day]) == set(record.days[day]):
                found[day] = record.sources.get(day, "")
            else:
                was, now = self.old.header("raw_logs", day), self.new.header("raw_logs", day)
                is_same = was is not None and record.sources.get(day) == was.content_hash
                found[day] = now.content_hash if now is not None and is_same else ""
        return found

    def _contents(self, known: Mapping[str, Day], number: int) -> dict[str, list[Example]]:
        """Examples of trajectories whose contents, or days, are others by now: as claimed, else made again."""
        changed = {}
        now = {item.trace_uid: (str(item.day), item.content_hash) for item in self._now}
        then = {uid: (day, value) for day, found in sorted(known.items(), reverse=True) for uid, value in found.items()}
        differing = {uid for uid, value in then.items() if now.get(uid) != value}
        if not differing:
            return {}
        claimed = self._claimed_since(number)
        past = {item.trace_uid: item for item in trajectories_at(self.new, Known(known, {}))}
        for uid in differing:
            if uid in claimed:
                changed[uid] = claimed[uid]
            elif uid in past:
                changed[uid] = examples_of(past[uid], reflect_as_then(self.new, past[uid]), self.settings.training)
        return changed

    @cached_property
    def _now(self) -> list[Trajectory]:
        return list(trajectories_at(self.new, None))

    def _claimed_since(self, number: int) -> dict[str, list[Example]]:
        """What the first old cycle from an arrival on claimed of each trajectory."""
        found: dict[str, list[Example]] = {}
        for record in self.journal:
            for key in record.frozen if record.number >= number else ():
                rows: dict[str, list[Example]] = {}
                for row in claimed_examples(self.old, key):
                    rows.setdefault(row["metadata"]["trajectory_id"], []).append(row)
                found = rows | found
        return found

    # -- one cycle ------------------------------------------------------------------------------------------------

    def _out(self) -> frozenset[str]:
        """Cycles of the new warehouse that are taken out."""
        return frozenset(self.renamed[key] for key in self.taken_out if key in self.renamed)

    def _train(self, cycle: Cycle) -> None:
        settings = self._settings_of(cycle)
        ensure_base(self.new, settings)
        publish_shard(self.new, cycle, settings, scribe_for(settings))
        for artefact in (ADAPTERS, MERGED):
            self._offer(artefact, cycle.key)
        started = time.process_time()
        header, is_new = train_cycle(self.new, cycle, settings.training, base_data_for(self.new, settings))
        if is_new:
            note_training(self.new, cycle.key, time.process_time() - started, header.counts["steps"])
            self.rebuilt.append(cycle.key)
        self.say(f"cycle {cycle.key}: {'trained again' if is_new else 'its adapters are unchanged'}; evaluated again")
        merged = merge_cycle(self.new, cycle, settings.models)
        report = self.judge(self.new, cycle, settings)
        publish(self.new, cycle.key, report, {MERGED: report["model"]["hash"]})
        if cycle.key in self._out():
            self.decisions.take_out(cycle, merged)
        else:
            decide(self.new, cycle, pinned(self.new).content_hash)
        self.decisions.after(cycle)

    def _settings_of(self, cycle: Cycle) -> Settings:
        """The settings that the cycle of the same arrival was trained with, where they were recorded."""
        same = [old for old, new in self.renamed.items() if new == cycle.key]
        for key in [*same, cycle.key]:
            header = self.old.header(SHARDS, key)
            if header is not None and "settings" in header.info:
                return Settings.model_validate(self.settings.model_dump() | header.info["settings"])
        return self.settings

    def _offer(self, artefact: str, key: str) -> None:
        """Lay what was made before where the next step looks for it; it takes it over if its inputs are the same."""
        places = [self.kept / artefact / f"cycle={key}"] if self.kept else []
        places.append(self.old.path(artefact, key))
        for place in places:
            pointer = place / "current.json"
            if not pointer.exists() or self.new.header(artefact, key):
                continue
            if (place / Header.model_validate_json(pointer.read_bytes()).content_hash[:16]).is_dir():  # else collected
                link(place, self.new.path(artefact, key))


def link(source: Path, target: Path) -> None:
    """Copy a folder by hard links: artefacts are replaced, never written into."""
    skip = shutil.ignore_patterns(".tmp-*")
    shutil.copytree(source, target, copy_function=_link, ignore=skip, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)

"""The gate's evidence on one candidate, gathered and judged: everything but how tasks are tried.

Offline replay tries them in `replay_gate`, the worlds in `simulation.gating`; the rule is in `gate_rule`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from synde_pipeline.base_model import Base
from synde_pipeline.evaluation.arms import ARMS, REPORTS
from synde_pipeline.evaluation.canaries import canary_check
from synde_pipeline.evaluation.gate_rule import (
    NOT_APPLICABLE,
    PASSED,
    Check,
    Evidence,
    Terms,
    check,
    judge,
    refused,
)
from synde_pipeline.evaluation.general import forms_of, general_checks
from synde_pipeline.evaluation.query import logs_by_outcome
from synde_pipeline.evaluation.unlabelled import labels_of
from synde_pipeline.evaluation.wealth import level_now
from synde_pipeline.models.merge import MERGED
from synde_pipeline.models.registry import Champion, Served, champion, served_hash, served_of
from synde_pipeline.models.same import is_same
from synde_pipeline.models.verified import broken_files, foreign_lineage
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import SCHEMA_VERSION
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse, read_json
from synde_pipeline.training.cycles import Cycle
from synde_pipeline.training.shards import ShardRow

Gather = Callable[["Candidate"], Evidence | None]
"""Tries the gate tasks with candidate and champion; None where nothing can be tried at all."""


@dataclass(frozen=True)
class Candidate:
    """A cycle's model and the champion that it is compared with, as they are now."""

    warehouse: Warehouse
    cycle: Cycle
    model: Header
    """Of `merged_models[cycle]`."""
    base: Base
    settings: Settings
    known: Champion

    @classmethod
    def of(cls, warehouse: Warehouse, cycle: Cycle, model: Header, base: Base, settings: Settings) -> "Candidate":
        """With the champion of this moment."""
        return cls(warehouse, cycle, model, base, settings, champion(warehouse))

    @cached_property
    def served(self) -> Served:
        """What would be served in the domain if it passes."""
        return served_of(self.model)

    @property
    def before(self) -> Served | None:
        """What the domain serves now; None for the base alone."""
        return self.known.domains.get(self.cycle.domain)


# -- before anything is tried -----------------------------------------------------------------------------------------


def file_checks(candidate: Candidate) -> list[Check]:
    """Whether the candidate's files can be used and are the recorded ones."""
    broken = broken_files(candidate.warehouse, candidate.model, candidate.base)
    foreign = foreign_lineage(candidate.warehouse, candidate.model)
    n = len({row["cycle"] for row in candidate.model.info["adapters"]})
    whole = f"files of {n} cycles' adapters are the recorded ones, finite, and fit the base"
    ours = f"lineage of {n} cycles' adapters is the recorded one"
    return [
        check("adapter files", not broken, "; ".join(broken[:3]) or whole, n=n),
        check("lineage", not foreign, "; ".join(foreign[:3]) or ours, n=n),
    ]


def refused_report(candidate: Candidate, checks: Sequence[Check]) -> dict[str, Any]:
    """The report of a candidate that cannot be tried: no numbers, and the reason."""
    gate = refused(checks)
    nothing = {arm: {"n": 0, "note": f"not evaluated: {gate['reason']}"} for arm in ARMS}
    cycle, base = candidate.cycle, candidate.base
    return {
        "schema_version": SCHEMA_VERSION,
        "cycle": cycle.key,
        "domain": cycle.domain,
        "sequence": cycle.sequence,
        "base": {"name": base.header.info["name"], "hash": base.hash},
        "model": {"hash": candidate.model.content_hash, "adapters": candidate.model.info["adapters"]},
        "evaluation": {
            "method": "none: the candidate was refused",
            "is_time_split": False,
            "last_claimed_day": str(cycle.last_day),
            "days": [],
            "n_tasks": 0,
            "n_trajectories": 0,
            "n_tasks_checked_for_leaks": 0,
        },
        "logs": logs_by_outcome(candidate.warehouse),
        "labels": labels_of(candidate.warehouse),
        "arms": nothing,
        "differences": {},
        "all_domains": {"cycles": [cycle.key], "is_time_split": False, "arms": nothing, "differences": {}},
        "tasks": [],
        "places": [],
        "task_ids": [],
        "gate": gate,
    }


# -- judging ----------------------------------------------------------------------------------------------------------


def gate_section(
    candidate: Candidate, gather: Gather, files: Sequence[Check], probes: Sequence[ShardRow]
) -> dict[str, Any] | None:
    """The gate's section of a report: evidence against the champion of now, whose hash it names.

    A model that was decided on is not judged again: the section of its report stays, None where that is gone.

    Args:
        candidate: with its champion.
        gather: tries the gate tasks.
        files: checks of its files, all passed.
        probes: texts of the base's own data.

    Raises:
        LineageError: an adapter of candidate or champion is not the recorded one.
        InputError: the file of canaries cannot be read.
    """
    if candidate.known.has_decided(candidate.cycle.key, candidate.model.content_hash):
        return _kept(candidate)
    about = {"cycle": candidate.before.cycle if candidate.before else None, "hash": served_hash(candidate.before)}
    same = _same_check(candidate)
    if same.status != PASSED:
        return {**refused([*files, same]), "champion": about}
    evidence = gather(candidate)
    if evidence is None:
        return None
    config = candidate.settings.gate
    level = level_now(candidate.known, candidate.cycle.domain, config)
    terms = Terms(level, _given_up(candidate), config, candidate.settings.evaluation)
    others = [*files, same, _elsewhere(candidate), *_probed(candidate, probes)]
    return {**judge(evidence, others, terms), "champion": about}


def _kept(candidate: Candidate) -> dict[str, Any] | None:
    header = candidate.warehouse.header(REPORTS, candidate.cycle.key)
    if header is None or header.inputs.get(MERGED) != candidate.model.content_hash:
        return None
    return read_json(candidate.warehouse.folder(REPORTS, candidate.cycle.key) / "report.json").get("gate")


def _same_check(candidate: Candidate) -> Check:
    is_copy = is_same(candidate.warehouse, candidate.served, candidate.before, candidate.base.hash)
    against = f"champion {candidate.before.cycle}" if candidate.before else "base alone"
    said = f"its weights act as those of the {against}" if is_copy else f"it acts otherwise than the {against}"
    return check("not identical", not is_copy, said)


def _elsewhere(candidate: Candidate) -> Check:
    """Other domains are served by their own adapters, routed by domain: this candidate cannot reach their tasks.

    Said, not measured, so it is never called passed.
    """
    others = sorted(set(candidate.known.domains) - {candidate.cycle.domain})
    if not others:
        return Check("other domains", NOT_APPLICABLE, "no other domain has a champion")
    said = f"{', '.join(others)}: served by their own champions, which this one does not change"
    return Check("other domains", NOT_APPLICABLE, said)


def _given_up(candidate: Candidate) -> float:
    """What the champion's own promotion, and those before it, let through (`gate_rule.judge`)."""
    if candidate.before is None:
        return 0.0
    header = candidate.warehouse.header(REPORTS, candidate.before.cycle)
    if header is None or header.inputs.get(MERGED) != candidate.before.model:
        return 0.0
    folder = candidate.warehouse.folder(REPORTS, candidate.before.cycle)
    found = (read_json(folder / "report.json").get("gate") or {}).get("given_up", 0.0)
    return float(found) if isinstance(found, int | float) else 0.0


def _probed(candidate: Candidate, probes: Sequence[ShardRow]) -> list[Check]:
    """What its own adapters do to the base's data, and to planted secrets."""
    settings, base = candidate.settings, candidate.base
    encoder = PromptEncoder(base.tokenizer, settings.prompt)
    pad_id = base.tokenizer.pad_token_id or 0
    with (
        forms_of(candidate.warehouse, base, candidate.served, candidate.cycle.key) as own,
        forms_of(candidate.warehouse, base, candidate.before) as before,
    ):
        return [
            *general_checks(own, before, base, probes, settings.gate),
            canary_check(own, encoder, pad_id, settings.gate),
        ]

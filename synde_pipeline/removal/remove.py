"""Removing something, all of it or nothing: `remove`, `resume`, and the certificates that stay.

A copy of the warehouse is made beside it, by hard links; in the copy the daily tables lose what goes and history is
replayed. Until the copy is complete the warehouse is as it was, but for landing; then the artefacts change places, one
rename after the other. A journal written first says how far it came: every step can be done again.
"""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synde_pipeline.errors import InputError
from synde_pipeline.laboratory import report_of
from synde_pipeline.lease import lease
from synde_pipeline.llm import purge_answers
from synde_pipeline.logs.landing import ARTEFACT as LANDING
from synde_pipeline.logs.landing import make_private
from synde_pipeline.logs.tombstones import ARTEFACT, active_path, bury, hashed, refuse_while_removing, tombstones
from synde_pipeline.memory.banks import BANKS
from synde_pipeline.memory.edits import EDITS
from synde_pipeline.memory.notebook import ARTEFACT as NOTES
from synde_pipeline.memory.trial_contrasts import forget_contrasts
from synde_pipeline.memory.vectors import VECTORS
from synde_pipeline.models.adapters import CHECKPOINTS
from synde_pipeline.models.registry import FILE as CHAMPION
from synde_pipeline.models.registry import champion
from synde_pipeline.records import content_hash
from synde_pipeline.removal.inputs import Gone, affected_days, purge_landing, rewrite_days
from synde_pipeline.removal.plan import hashes, plan
from synde_pipeline.removal.replay import Judge, Replay, link
from synde_pipeline.removal.request import Request, uids_of
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse, read_json, write_atomically
from synde_pipeline.training.base_replay import ARTEFACT as BASE_REPLAY
from synde_pipeline.training.null_space import ARTEFACT as MOMENTS
from synde_pipeline.training.regularize import ARTEFACT as FISHER

Say = Callable[[str], None]

_STAYS = {LANDING, ARTEFACT, "leases"}
"""What is never copied: landing is rewritten in place, because agents go on writing there."""
_DROPPED = {CHECKPOINTS, MOMENTS, FISHER, BASE_REPLAY, BANKS, NOTES, VECTORS}
"""What is not carried over: it was computed from what goes, and is made again where it is asked for. States of
interrupted trainings, statistics of cycles, banks, notes, vectors, texts of a base that the logs may have built."""
_LANCE = "lance"
_INFLUENCED = (
    "logs that the agent wrote after it had learned from what was removed: they stay, and may have been influenced",
    "people's edits of memory items: they stay, and may quote it; `synde remove --trace human:...` removes one",
    "copies outside this warehouse: the native log files, exported adapters and reports, backups",
    "Dagster's history holds counts, hashes and cycle keys of earlier runs, no texts; its logs may name a path or, "
    "where a language model did not answer, a trajectory's uid",
)


def plan_of(warehouse: Warehouse, settings: Settings, request: Request) -> dict[str, Any]:
    """What removing would touch and cost. Nothing is changed.

    Raises:
        InputError: nothing is meant by the request.
        RemovalError: another removal is not finished.
    """
    refuse_while_removing(warehouse)
    gone = Gone(frozenset(uids_of(warehouse, request)), request.day)
    journal = _journal(warehouse, settings, request, gone)
    return plan(_replay(warehouse, warehouse, settings, journal, lambda _: None), request, gone)


def remove(
    warehouse: Warehouse,
    settings: Settings,
    request: Request,
    say: Say = lambda _: None,
    *,
    judge: Judge = report_of,
) -> dict[str, Any]:
    """Remove as if it had never arrived (law 8); returns the certificate. Cycles trained again are judged by `judge`.

    Raises:
        InputError: nothing is meant by the request.
        RemovalError: another removal is not finished.
    """
    with lease(warehouse.root, "training", log=say):
        refuse_while_removing(warehouse)
        gone = Gone(frozenset(uids_of(warehouse, request)), request.day)
        if request.adapter in tombstones(warehouse).cycles:
            raise InputError(f"the adapters of {request.adapter} are taken out already")
        # Edits and banks that are being made are stored first; later ones see the journal.
        with lease(warehouse.root, EDITS, log=say), lease(warehouse.root, BANKS, log=say):
            journal = _journal(warehouse, settings, request, gone)
            (warehouse.root / ARTEFACT).mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(active_path(warehouse), json.dumps(journal))
        return _go_on(warehouse, journal, say, judge)


def resume(warehouse: Warehouse, say: Say = lambda _: None) -> dict[str, Any] | None:
    """Finish a removal whose process is gone; None where there is none."""
    if not active_path(warehouse).exists():
        return None
    with lease(warehouse.root, "training", log=say):
        if not active_path(warehouse).exists():  # another process has finished it meanwhile
            return None
        say("finishing an interrupted removal")
        return _go_on(warehouse, read_json(active_path(warehouse)), say)


def certificates(warehouse: Warehouse) -> list[dict[str, Any]]:
    """All removals so far, oldest first."""
    headers = [warehouse.header(ARTEFACT, key) for key in warehouse.keys(ARTEFACT)]
    return [{"number": header.key, **header.info} for header in headers if header]


# -- the steps ------------------------------------------------------------------------------------------------------


def _journal(warehouse: Warehouse, settings: Settings, request: Request, gone: Gone) -> dict[str, Any]:
    """What a removal needs to be finished by another process. It names what goes until it is gone."""
    before = hashes(warehouse)
    cycles_out = set(tombstones(warehouse).cycles)
    if request.adapter is not None:
        cycles_out.add(request.adapter)
    return {
        "number": 1 + max(map(int, warehouse.keys(ARTEFACT)), default=0),
        "request": request.model_dump(mode="json"),
        "uids": sorted(gone.uids),
        "settings": settings.model_dump(mode="json"),
        "before": {**before, CHAMPION: champion(warehouse).hash},
        "days": affected_days(warehouse, gone),
        "cycles_out": sorted(cycles_out),
        "swap": None,
    }


def _go_on(warehouse: Warehouse, journal: dict[str, Any], say: Say, judge: Judge = report_of) -> dict[str, Any]:
    copy, trash = _work(warehouse, "copy"), _work(warehouse, "trash")
    if journal["swap"] is None:
        bury(warehouse, journal["uids"], frozenset(journal["cycles_out"]))
        done = _rebuild(warehouse, copy, journal, say, judge)
        shutil.rmtree(copy.root / CHECKPOINTS, ignore_errors=True)
        coming = _entries(copy.root)
        going = [name for name in _entries(warehouse.root) if name not in coming]
        journal = {**journal, **done, "swap": {"coming": coming, "going": going}}
        write_atomically(active_path(warehouse), json.dumps(journal))
    say("changing places")
    _swap(warehouse.root, copy.root, trash.root, **journal["swap"])
    bury(warehouse, [], frozenset(journal["cycles_now"]))
    certificate = _certify(warehouse, journal)
    shutil.rmtree(_work(warehouse, "").root, ignore_errors=True)
    active_path(warehouse).unlink()
    return certificate


def _work(warehouse: Warehouse, name: str) -> Warehouse:
    return Warehouse(warehouse.root / ARTEFACT / "work" / name)


def _entries(root: Path) -> list[str]:
    """What changes places: all that is published, the champion last, because it names what must be there."""
    names = [path.name for path in root.iterdir() if path.name not in _STAYS and not path.name.startswith(".")]
    return sorted(names, key=lambda name: (name == CHAMPION, name))


def _rebuild(warehouse: Warehouse, copy: Warehouse, journal: dict[str, Any], say: Say, judge: Judge) -> dict[str, Any]:
    """Make the copy in which what goes never was."""
    settings = Settings.model_validate(journal["settings"])
    gone = Gone(frozenset(journal["uids"]), Request.model_validate(journal["request"]).day)
    n_rows = purge_landing(warehouse, gone) if gone.uids else 0
    _copy(warehouse, copy)
    n_answers = purge_answers(copy, gone.uids)
    forget_contrasts(copy, gone.uids)
    say(f"{len(journal['days'])} days are written anew")
    rewrite_days(copy, journal["days"], gone, settings.memory)
    replay = _replay(warehouse, copy, settings, journal, say)
    replay.judge = judge
    replay.run()
    # A cycle that history does not freeze any more cannot be out of it.
    out = {replay.renamed[key] for key in journal["cycles_out"] if key in replay.renamed}
    lost = replay.decisions.lost
    return {
        "landing_rows": n_rows,
        "llm_answers": n_answers,
        "trained_again": replay.rebuilt,
        "cycles_now": sorted(out),
        "decisions_lost": lost,
    }


def _replay(old: Warehouse, new: Warehouse, settings: Settings, journal: dict[str, Any], say: Say) -> Replay:
    out = frozenset(journal["cycles_out"])
    kept = _work(old, "kept").root
    adapter = journal["request"]["adapter"]
    return Replay(
        old, new, frozenset(journal["uids"]), out, adapter, settings, say, kept=kept if kept.is_dir() else None
    )


def _copy(warehouse: Warehouse, copy: Warehouse) -> None:
    """A fresh copy; what a killed removal had trained is kept aside for this one."""
    kept = _work(warehouse, "kept").root
    for artefact in ("adapters", "merged_models"):
        for made in (copy.root / artefact).glob("cycle=*"):
            if (made / "current.json").exists():
                shutil.rmtree(kept / artefact / made.name, ignore_errors=True)
                (kept / artefact).mkdir(parents=True, exist_ok=True)
                made.rename(kept / artefact / made.name)
    shutil.rmtree(copy.root, ignore_errors=True)
    copy.root.mkdir(mode=0o700, parents=True)
    for name in set(_entries(warehouse.root)) - _DROPPED:
        source, target = warehouse.root / name, copy.root / name
        if source.is_dir():
            link(source, target)
        else:
            target.hardlink_to(source)
    shutil.rmtree(copy.root / "curated_memory" / _LANCE, ignore_errors=True)  # its older versions hold what goes
    make_private(warehouse.root / LANDING)
    (copy.root / LANDING).symlink_to((warehouse.root / LANDING).resolve())
    stones = tombstones(warehouse)
    write_atomically(copy.root / ARTEFACT / "tombstones.json", json.dumps({"uids": sorted(stones.uids), "cycles": []}))


def _swap(root: Path, copy: Path, trash: Path, *, coming: list[str], going: list[str]) -> None:
    """Let each name of the copy take the place of the warehouse's; doing it again goes on where a kill stopped it."""
    trash.mkdir(parents=True, exist_ok=True)
    for name in going + coming:
        if name in coming and not (copy / name).exists():
            continue  # it is in its place already
        if (root / name).exists():
            (root / name).rename(trash / name)
        if name in coming:
            (copy / name).rename(root / name)


def _certify(warehouse: Warehouse, journal: dict[str, Any]) -> dict[str, Any]:
    """Write what was removed, when, and what it changed. It names no trajectory, only hashes of uids."""
    before: dict[str, str] = journal["before"]
    after = {**hashes(warehouse), CHAMPION: champion(warehouse).hash}
    after = {name: value for name, value in after.items() if not name.startswith(f"{ARTEFACT}[")}
    before = {name: value for name, value in before.items() if not name.startswith(f"{ARTEFACT}[")}
    changed = {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    request = Request.model_validate(journal["request"])
    said = request.text if request.trace is None else f"--trace (uid hash {hashed(request.trace)[:16]})"
    info = {
        "request": said,
        "trajectories": sorted(hashed(uid) for uid in journal["uids"]),
        "changed": changed,
        "trained_again": journal["trained_again"],
        "decisions_lost": journal["decisions_lost"],
        "purged": {
            "landing_rows": journal["landing_rows"],
            "llm_answers": journal.get("llm_answers", 0),
            "days": journal["days"],
            "memory_versions": "all but the newest",
            "reports": [name for name in changed if name.startswith("eval_reports[")],
        },
        "may_remain": list(_INFLUENCED),
        "removed_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    key = f"{journal['number']:04d}"
    timeless = {name: value for name, value in info.items() if name != "removed_at"}
    header = Header(artefact=ARTEFACT, key=key, content_hash=content_hash(timeless), info=info)
    write_atomically(warehouse.path(ARTEFACT, key) / "current.json", header.model_dump_json(indent=1))
    return {"number": key, **info}

"""`synde study`: what was claimed, measured here and now. `cli` puts it among the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from tqdm import tqdm

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.errors import InputError, SyndeError
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse
from synde_pipeline.tables import text_table

PRESETS = ("quick", "full")
_LONGEST = "deployment"
"""Begun first when several run: alone at the end it would keep one core."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


class StudyFailedError(SyndeError):
    """A study of several failed; what the others published stays."""


def study(
    name: Annotated[str | None, typer.Argument(help="A study, or all; without a name they are listed.")] = None,
    preset: Annotated[str, typer.Option(help="quick: see it work. full: what is reported, resumable.")] = "full",
    again: Annotated[bool, typer.Option("--again", help="all: also what this very code has measured.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study and print what it claims, each with its interval, n and a verdict computed from thresholds.

    Its page, plots and numbers go to `studies/NAME` of the warehouse; the page of all claims to `claims`. Interrupt it
    and go on with the same command. `all` passes over studies that the same code has finished already.

    JSON keys: claims [id, source, claim, what, measured, error, n, verdict, command], folders [study, folder], page.
    Without a name: studies [name, about].
    """
    from synde_pipeline.studies.registry import STUDIES, Claim, about, study_of

    if name is None:
        _list({known: about(known) for known in STUDIES}, as_json)
        return
    if preset not in PRESETS:
        raise InputError(f"--preset is {preset!r}", expected=" or ".join(PRESETS))
    names = list(STUDIES) if name == "all" else [name]
    for wanted in names:
        study_of(wanted)
    claims, folders, page = _run(names, preset, skip_done=name == "all" and not again)
    if as_json:
        print_json({"claims": [claim.model_dump(mode="json") for claim in claims], "folders": folders, "page": page})
        return
    found: list[Claim] = claims
    print(
        text_table([_cells(claim) for claim in found], ("claim", "measured", "95 % interval", "n", "verdict", "source"))
    )
    for row in folders:
        print(f"{row['study']}: {row['folder']}")
    print(f"all claims: {page}")


def _run(names: Sequence[str], preset, *, skip_done: bool) -> tuple[list, list[dict[str, str]], str]:  # noqa: ANN001
    from synde_pipeline.defs.run import run
    from synde_pipeline.studies.claims import collected, write_claims
    from synde_pipeline.studies.study import artefact_of, is_done, run_study

    settings = load()
    warehouse = Warehouse(settings.warehouse)
    due = [name for name in names if not (skip_done and is_done(settings, name, preset))]
    if len(due) > 1:
        _side_by_side(due, preset)
    elif due:
        run_study(settings, due[0], run, preset=preset)
    write_claims(warehouse)
    claims = [claim for row in collected(warehouse) if row["study"] in names for claim in row["claims"]]
    folders = [{"study": name, "folder": str(warehouse.folder(artefact_of(name), "").resolve())} for name in names]
    return claims, folders, str((warehouse.folder("claims", "") / "claims.html").resolve())


def _side_by_side(names: Sequence[str], preset: str) -> None:
    """One process a study: each computes with one thread.

    One more than there are cores: often one waits until another has lived the laboratory of both. Each is a process
    group of its own, so that Ctrl-C reaches it once, through us.
    """
    words = [sys.executable, "-W", "ignore", "-m", "synde_pipeline.cli", "study"]
    waiting, running, failed = sorted(names, key=lambda name: name != _LONGEST), {}, []
    with tqdm(total=len(names), desc="studies", unit="study", disable=None) as bar:
        try:
            while waiting or running:
                while waiting and len(running) <= (os.cpu_count() or 1):
                    name = waiting.pop(0)
                    running[name] = subprocess.Popen(
                        [*words, name, "--preset", preset],
                        stdout=subprocess.DEVNULL,
                        env=os.environ | _ONE_THREAD,
                        process_group=0,
                    )
                time.sleep(0.1)
                for name in [name for name, process in running.items() if process.poll() is not None]:
                    failed += [name] if running.pop(name).returncode else []
                    bar.update()
        finally:
            for process in running.values():
                process.send_signal(signal.SIGINT)
            for process in running.values():
                process.wait()
    if failed:
        raise StudyFailedError(
            f"{', '.join(failed)} failed; the other studies are done",
            remedy=f"see the messages above, mend, and run `synde study all --preset {preset}` again: it goes on",
        )


def _list(known: dict[str, str], as_json: bool) -> None:
    if as_json:
        rows = [{"name": name, "about": text} for name, text in known.items()]
        print_json({"studies": rows})
    else:
        print(text_table(list(known.items()), ("study", "about")))


def _cells(claim) -> Sequence[str]:  # noqa: ANN001 - a Claim, imported when a study runs
    measured = "-" if claim.measured is None else f"{claim.measured:.4g}"
    interval = "-" if claim.error is None else "{:.4g} to {:.4g}".format(*claim.error)
    return claim.claim, measured, interval, str(claim.n), claim.verdict, claim.source

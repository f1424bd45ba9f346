"""`synde study`: what was claimed, measured here and now. `cli` puts it among the others."""

from collections.abc import Sequence
from typing import Annotated

import typer

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse


def study(
    name: Annotated[str | None, typer.Argument(help="A study, or all; without a name they are listed.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer seeds and cells: to see it work.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study and print what it claims, each with its interval, n and a verdict computed from thresholds.

    Its files (numbers as JSON, mostly a page) go to `studies/NAME` of the warehouse.

    JSON keys: claims [id, source, claim, measured, error, n, verdict, command], folders [study, folder]. Without a
    name: studies [name, about].
    """
    from synde_pipeline.studies.registry import STUDIES, Claim, about, run_study, study_of

    if name is None:
        _list({known: about(known) for known in STUDIES}, as_json)
        return
    names = list(STUDIES) if name == "all" else [name]
    for wanted in names:
        study_of(wanted)
    warehouse = Warehouse(load().warehouse)
    claims: list[Claim] = []
    folders = []
    for wanted in names:
        found, header = run_study(warehouse, wanted, quick=quick)
        claims += found
        folders.append({"study": wanted, "folder": str(warehouse.folder(header.artefact, "").resolve())})
    if as_json:
        rows = [claim.model_dump(mode="json") for claim in claims]
        print_json({"claims": rows, "folders": folders})
        return
    print(_table([_cells(claim) for claim in claims], ("claim", "measured", "95 % interval", "n", "verdict", "source")))
    for row in folders:
        print(f"{row['study']}: {row['folder']}")


def _list(known: dict[str, str], as_json: bool) -> None:
    if as_json:
        rows = [{"name": name, "about": text} for name, text in known.items()]
        print_json({"studies": rows})
    else:
        print(_table(list(known.items()), ("study", "about")))


def _cells(claim) -> Sequence[str]:  # noqa: ANN001 - a Claim, imported when a study runs
    measured = "-" if claim.measured is None else f"{claim.measured:.4g}"
    interval = "-" if claim.error is None else "{:.4g} to {:.4g}".format(*claim.error)
    return claim.claim, measured, interval, str(claim.n), claim.verdict, claim.source


def _table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    lines = [heads, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )

"""`synde import`: people's logs into landing, or only a look at what would be read. `cli` puts it among the others."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from synde_pipeline.cli_words import AsJson, by_file, print_json, printable
from synde_pipeline.errors import InputError
from synde_pipeline.logs.choices import AS_LOGGED, Choices, ScoreRule
from synde_pipeline.logs.days import DayRule
from synde_pipeline.logs.documents import Limits
from synde_pipeline.logs.importers.registry import importers
from synde_pipeline.logs.joins import heard_of, join_labels
from synde_pipeline.logs.landing import Filed, file_import
from synde_pipeline.logs.reading import fixed_per_day, native_files, read_files, spread_over
from synde_pipeline.logs.runs import FileImport
from synde_pipeline.records import Trajectory
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse
from synde_pipeline.tables import text_table

N_SHOWN = 10
"""Steps that a dry run shows."""
WIDTH = 60
"""Signs of each text that it shows."""
COUNTED = ("trajectories", "labelled", "success", "quarantined", "duplicates", "undated")

Day = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="First day (UTC) for logs that carry no times; needs --per-day."),
]


def import_logs(
    path: Annotated[Path | None, typer.Argument(help="A log file, or a folder that is searched for logs.")] = None,
    log_format: Annotated[
        str | None, typer.Option("--format", help="One of --formats; detected by content when left out.")
    ] = None,
    start_day: Day = None,
    per_day: Annotated[
        int | None, typer.Option(min=1, help="Trajectories per day, in file order; needs --start-day.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="Domain of all runs: a name, or a field of the log as metadata.team.")
    ] = None,
    task_id: Annotated[
        str | None, typer.Option(help="What says which runs tried the same task: a field of the log, or one name.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="Which score is success where the log has no label: 'score:correctness>=0.5'.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be read and what is missing.")] = False,
    follow: Annotated[
        float | None,
        typer.Option(min=1, help="Look again every so many seconds, until Ctrl-C; only new runs are filed."),
    ] = None,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats, and what each reads.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import native agent logs into landing; a file or folder that grew adds only what is new.

    Bad rows go to quarantine with their reason. Labels may come in other files, on other days, before or after their
    runs. JSON keys: files [file, format, trajectories, labelled, success, quarantined, duplicates, undated,
    dropped_fields, unknown_fields, missing, scores {name: {n, min, max}}, skipped], and totals of the same names;
    labels (runs imported before that got one now), labels_waiting (of runs that are not imported yet).
    With --formats: formats [name, identity, time, domain, task, steps, outcome, label_source, ground_truth, dropped].
    """
    if formats:
        _print_formats(as_json)
        return
    if path is None:
        raise InputError("no path is given", expected="a log file or a folder", remedy="synde import PATH")
    if (start_day is None) != (per_day is None):
        raise InputError("--start-day and --per-day belong together", remedy="give both or neither")
    rule = fixed_per_day(start_day.date(), per_day) if start_day and per_day else None
    choices = Choices(domain, task_id, ScoreRule.of(outcome) if outcome else None)
    if dry_run:
        _look(path, log_format, rule, choices, as_json=as_json)
        return
    seen = _stamps(path)  # before anything is read: what changes meanwhile is read again
    split: set[Path] = set()
    result = imported(list(seen), log_format, rule, choices, split)
    _say(result, as_json)
    while follow:
        time.sleep(follow)
        before, seen = seen, _stamps(path)
        # Labels of other files are kept: only what changed is read again, with the files that hold parts of its runs.
        if changed := [file for file, stamp in seen.items() if before.get(file) != stamp]:
            again = sorted({*changed, *split} & seen.keys())
            _say(imported(again, log_format, rule, choices, split), as_json)
    if not result["trajectories"] and not all(row["skipped"] for row in result["files"]):
        raise typer.Exit(1)


def imported(
    files: Sequence[Path],
    log_format: str | None = None,
    rule: DayRule | None = None,
    choices: Choices = AS_LOGGED,
    split: set[Path] | None = None,
) -> dict[str, Any]:
    """File what native files hold; returns the rows and totals of the JSON contract.

    Args:
        files: read together.
        log_format: of all of them; None: as each one's content says.
        rule: days of runs without a time.
        choices: of the person.
        split: gets the files whose runs others may hold more of.
    """
    settings = load()
    warehouse = Warehouse(settings.warehouse)
    today = datetime.now(UTC).date()
    rows, seen = [], []
    for found in _read(files, log_format, rule, choices):
        rows.append(_row(found, file_import(warehouse, found, settings.start_day, today)))
        seen.append(heard_of(warehouse, found))
        if found.is_split and split is not None:
            split.add(found.path)
        del found  # else a block would be there while the next one is read
    joined = join_labels(warehouse, seen, choices, today)
    return _with_totals(rows) | {"labels": joined.n_labels, "labels_waiting": joined.n_waiting}


def print_import(result: dict[str, Any], done: str = "imported") -> None:
    """The table of files, and the totals.

    Args:
        result: rows and totals.
        done: what happened to the trajectories.
    """
    heads = ("file", "format", "trajectories", "known", "labelled", "success", "quarantined", "note")
    rows = [
        (
            Path(row["file"]).name if len(row["file"]) > WIDTH else row["file"],
            row["format"] or "-",
            *(str(row[name]) for name in ("trajectories", "duplicates", "labelled", "success", "quarantined")),
            row["skipped"],
        )
        for row in result["files"]
    ]
    print(text_table(rows, heads))
    print(
        f"{result['trajectories'] - result['duplicates']} trajectories {done}, {result['duplicates']} known already, "
        f"{result['quarantined']} rows quarantined"
    )
    if result["labels"]:
        print(f"{result['labels']} runs that were imported before were labelled: `synde run` takes it up")
    if result["labels_waiting"]:
        print(f"{result['labels_waiting']} labels wait for runs that are not imported yet")


def _read(
    files: Sequence[Path], log_format: str | None, rule: DayRule | None, choices: Choices
) -> Iterator[FileImport]:
    shown = tqdm(files, desc="import", unit="file", disable=None, leave=False)
    limits = Limits(line=load().machine.max_line_mb * 2**20)
    return read_files(shown, forced=log_format, rule=rule, choices=choices, limits=limits)


def _row(found: FileImport, filed: Filed | None) -> dict[str, Any]:
    return {
        "file": str(found.path),
        "format": found.format,
        "trajectories": filed.n_new + filed.n_duplicates if filed else len(found.trajectories),
        "labelled": sum(item.outcome != "unknown" for item in found.trajectories),
        "success": sum(item.outcome == "success" for item in found.trajectories),
        "quarantined": len(filed.bad if filed else found.bad),
        "duplicates": filed.n_duplicates if filed else 0,
        "undated": found.n_undated,
        "dropped_fields": list(found.dropped),
        "unknown_fields": dict(found.unknown),
        "missing": dict(found.missing),
        "scores": {name: _range(values) for name, values in sorted(found.scores.items())},
        "skipped": found.skipped,
    }


def _range(values: Iterable[float]) -> dict[str, float]:
    values = list(values)
    return {"n": len(values), "min": min(values), "max": max(values)}


def _with_totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    rows = by_file(rows)
    return {"files": rows, **{name: sum(row[name] for row in rows) for name in COUNTED}}


def _say(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        print_import(result)


# -- only looking ---------------------------------------------------------------------------------------------------


def _look(path: Path, log_format: str | None, rule: DayRule | None, choices: Choices, *, as_json: bool) -> None:
    rows, first, missing, reasons = [], None, Counter[str](), Counter[str]()
    for found in _read(native_files(path), log_format, rule or spread_over(), choices):
        rows.append(_row(found, None))
        missing += found.missing
        reasons.update(bad.reason for bad in found.bad)
        first = first or next((one for one in found.trajectories if one.steps), None)
        del found
    result = _with_totals(rows) | {"labels": 0, "labels_waiting": 0}
    if as_json:
        print_json(result)
        return
    print_import(result, "would be imported")
    if first:
        _print_steps(first)
    unlabelled = result["trajectories"] - result["labelled"]
    if unlabelled:
        print(
            f"{unlabelled} of {result['trajectories']} carry no label: say which score means success (--outcome "
            "'score:NAME>=0.5'), let a judge read them (SYNDE_JUDGE), or label them (synde label)"
        )
    _print_scores(row["scores"] for row in rows)
    for reason, n in [*missing.most_common(), *reasons.most_common(N_SHOWN)]:
        print(f"{n} x {reason}")
    if result["undated"]:
        print(f"{result['undated']} carry no time: give --start-day and --per-day")
    print("nothing was written (--dry-run)")


def _print_scores(files: Iterable[dict[str, dict[str, float]]]) -> None:
    """How often each score is there, and between which values: what a rule may be about."""
    known: dict[str, dict[str, float]] = {}
    for scores in files:
        for name, new in scores.items():
            old = known.get(name, new | {"n": 0})
            low, high = min(old["min"], new["min"]), max(old["max"], new["max"])
            known[name] = {"n": old["n"] + new["n"], "min": low, "max": high}
    for name, found in sorted(known.items(), key=lambda pair: (-pair[1]["n"], pair[0]))[:N_SHOWN]:
        print(f"  score {_short(name)}: {found['n']} times, {found['min']:g} to {found['max']:g}")


def _print_steps(run: Trajectory) -> None:
    print(f"\n{run.trace_uid}: task {run.task_id}, {run.outcome} ({run.label_source}), {len(run.steps)} steps")
    print(f"  task: {_short(run.task)}")
    rows = [
        (
            str(step.index),
            _short(step.state),
            step.tool,
            _short(step.arguments),
            _short(step.result),
            _mark(step.success),
        )
        for step in run.steps[:N_SHOWN]
    ]
    print(text_table(rows, ("step", "saw", "tool", "arguments", "result", "worked")) + "\n")


def _mark(success: bool | None) -> str:
    return "-" if success is None else "yes" if success else "no"


def _short(text: str) -> str:
    words = printable(" ".join(text.split()))
    return words if len(words) <= WIDTH else words[: WIDTH - 1] + "…"


def _print_formats(as_json: bool) -> None:
    rows = [{"name": name, **vars(one.declared)} for name, one in importers().items()]
    if as_json:
        print_json({"formats": rows})
        return
    for row in rows:
        print(row.pop("name"))
        for part, words in row.items():
            said = ", ".join(words) if isinstance(words, tuple) else words
            print(f"  {part.replace('_', ' ')}: {said or '-'}")


# -- going on -------------------------------------------------------------------------------------------------------


def _stamps(path: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of each file that is still there."""
    found = {}
    for file in native_files(path):
        with suppress(OSError):
            stat = file.stat()
            found[file] = (stat.st_size, stat.st_mtime_ns)
    return found

"""The command line: `synde`. Each command reads its words, calls one function and prints what it says.

Exit codes: 0 done, 1 the work failed, 2 the words were off.
"""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from synde_pipeline import (
    cli_audit,
    cli_bench,
    cli_cycles,
    cli_edits,
    cli_import,
    cli_lab,
    cli_label,
    cli_memory,
    cli_models,
    cli_query,
    cli_recall,
    cli_scan,
    cli_serve,
    cli_studies,
)
from synde_pipeline.cli_words import AsJson, check_port, print_json
from synde_pipeline.errors import InputError, SyndeError
from synde_pipeline.logs.reading import UNDATED_DAYS, UNDATED_END, native_files, spread_over
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse
from synde_pipeline.tables import complain, text_table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # rich's own markup would swallow the [keys] of the JSON contract
    help="Agents' execution logs go in, a better agent comes out.\n\n"
    "Data lies in ./data, or in SYNDE_HOME. Start with: synde demo, or synde run PATH_TO_LOGS",
)
START, LOGS, MEMORY, MODELS, SERVE, LOOK, LAB = (
    "Start here",
    "Logs in, and out again",
    "Memory",
    "Models",
    "Serving",
    "What is there, and where it came from",
    "Laboratory",
)
for _panel, _commands in {
    START: {"demo": cli_lab.demo},
    LOGS: {
        "import": cli_import.import_logs,
        "label": cli_label.label,
        "scan": cli_scan.scan,
        "remove": cli_cycles.remove,
    },
    MEMORY: {"recall": cli_recall.recall, "audit": cli_audit.audit},
    MODELS: {
        "train": cli_cycles.train,
        "champion": cli_models.show_champion,
        "promote": cli_models.promote,
        "rollback": cli_models.rollback,
        "export": cli_models.export,
        "gc": cli_models.collect_garbage,
    },
    SERVE: {"serve": cli_serve.serve, "fit-router": cli_serve.fit_router},
    LOOK: {
        "status": cli_query.show_status,
        "lineage": cli_cycles.lineage,
        "sql": cli_query.query_sql,
        "graph": cli_query.draw_graph,
    },
    LAB: {"study": cli_studies.study, "bench": cli_bench.bench, "pretrain": cli_lab.pretrain},
}.items():
    for _name, _function in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_function)
app.add_typer(cli_memory.app, name="memory", rich_help_panel=MEMORY)
app.add_typer(cli_edits.quarantine, name="quarantine", rich_help_panel=MEMORY)
app.add_typer(cli_serve.key, name="key", rich_help_panel=SERVE)


@app.command("run", rich_help_panel=START)
def run_pipeline(
    logs: Annotated[
        Path | None, typer.Argument(help="Logs to import first; undated ones are spread over 14 days.")
    ] = None,
    no_llm: Annotated[
        bool, typer.Option("--no-llm", help="No new calls of a language model: days that need some are left stale.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring everything up to date: import, memory, training cycles, eval report.

    Only what changed is done again. Undated logs are spread over the 14 days ending 2025-01-14, each file evenly; use
    `synde import --start-day --per-day` first for another rule. JSON keys: days, left_stale (days that wait for calls
    of a language model), cycles, report, report_path, labels {runs, labelled, judged {outcome: runs}}.
    """
    if logs is not None:
        cli_cycles.finish_removal(print if not as_json else lambda _: None)
        imported = cli_import.imported(native_files(logs), rule=spread_over())
        if not as_json:
            cli_import.print_import(imported)
            if imported["undated"]:
                print(
                    f"{imported['undated']} trajectories carry no time: spread over the {UNDATED_DAYS} days ending "
                    f"{UNDATED_END}, each file evenly"
                )
        are_labels = any(row["format"] and row["skipped"] for row in imported["files"])
        if not imported["trajectories"] and not are_labels:
            raise InputError(
                f"no trajectory in {logs}", expected="logs in a known format", remedy="see the lines above"
            )
    from synde_pipeline.defs.run import run  # Dagster: only for the commands that need it

    with tqdm(desc="run", unit="stage", disable=None, leave=False) as bar:

        def say(stage: str) -> None:
            bar.update()
            if not as_json:
                tqdm.write(f"- {stage}")

        summary = run(load().without_calls() if no_llm else load(), say=say)
    if as_json:
        days = {name: [str(day) for day in getattr(summary, name)] for name in ("days", "left_stale")}
        told = {name: getattr(summary, name) for name in ("cycles", "report", "report_path", "labels")}
        print_json(days | told)
    else:
        _print_run(summary)


def _print_run(summary: Any) -> None:
    from synde_pipeline.evaluation.unlabelled import told_of_labels

    print(f"{len(summary.days)} days and {len(summary.cycles)} training cycles were brought up to date")
    if summary.left_stale:
        print(f"{len(summary.left_stale)} days wait for calls of a language model, which were switched off")
    if summary.report is None:
        print("no training cycle yet: no domain has enough examples (see `synde status`, SYNDE_CYCLE_THRESHOLD)")
    else:
        _print_report(summary)
    told = told_of_labels(summary.labels)
    if told["sentences"]:
        print("\n" + "\n".join(told["sentences"]))
        print("\n".join(f"  {case}:\n    {command}" for case, command in told["commands"]))


def _print_report(summary: Any) -> None:
    from synde_pipeline.evaluation.report import arms_table

    report = summary.report
    split = "time-split" if report["all_domains"]["is_time_split"] else "not time-split"
    print(f"\noffline replay of `report` tasks, all domains ({', '.join(report['all_domains']['cycles'])}), {split}")
    print(arms_table(report["all_domains"]))
    print(f"\ndomain {report['domain']} alone (cycle {report['cycle']})")
    print(arms_table(report))
    print(f"\nreport: {summary.report_path}")


@app.command("base", rich_help_panel=MODELS)
def pin_base(as_json: AsJson = False) -> None:
    """Pin this warehouse's base model: SYNDE_BASE_MODEL, or a small one built from the `train` tasks of the first days.

    `synde run` does this by itself when the first training cycle needs it. JSON keys: name, hash, counts.
    """
    from synde_pipeline.lease import lease
    from synde_pipeline.training.daily import ensure_base

    settings = load()
    warehouse = Warehouse(settings.warehouse)
    with lease(warehouse.root, "training", log=lambda text: print(text, file=sys.stderr)):
        header = ensure_base(warehouse, settings)
    if as_json:
        print_json({"name": header.info["name"], "hash": header.content_hash, "counts": header.counts})
    else:
        print(f"base {header.info['name']} {header.content_hash[:16]} {header.counts or ''}")


@app.command("doctor", rich_help_panel=START)
def doctor(as_json: AsJson = False) -> None:
    """Check the installation and this home: packages, paths, base, embedder, disk, Dagster, server; with remedies.

    Nothing is changed. Exit code 1 where something fails. JSON keys: ok, checks [check, state (ok, note, failed),
    found, remedy].
    """
    from synde_pipeline.doctor import examine, for_json

    found = examine(load())
    told = for_json(found)
    if as_json:
        print_json(told)
    else:
        rows = [(one.state, one.check, "\n-> ".join(filter(None, (one.found, one.remedy)))) for one in found]
        print(text_table(rows))
    raise typer.Exit(0 if told["ok"] else 1)


@app.command("ui", rich_help_panel=START)
def user_interface(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open Dagster's UI and daemon on this warehouse: http://127.0.0.1:3000. Ctrl-C stops both."""
    import os

    from synde_pipeline.defs.instance import write_instance_config

    check_port("127.0.0.1", port)
    home = write_instance_config(load())
    print(f"http://127.0.0.1:{port} (Dagster home {home})", flush=True)
    os.environ["DAGSTER_HOME"] = str(home)
    words = ["dagster", "dev", "-m", "synde_pipeline.definitions", "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *words])  # noqa: S606 - replaces this process, so Ctrl-C reaches it


def main() -> None:
    """Entry point: turns our errors into one line and an exit code."""
    warnings.simplefilter("ignore")  # of the libraries; a user can do nothing about them
    try:
        app()
    except SyndeError as error:
        complain(str(error))
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OSError as error:  # a full disk, a folder that is none, no permission
        complain(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()

"""`synde status`, `synde sql`, `synde graph`: what is in the warehouse, and how it comes about."""

import json
from pathlib import Path
from typing import Annotated

import typer

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse
from synde_pipeline.tables import text_table


def show_status(as_json: AsJson = False) -> None:
    """Say what is in the warehouse.

    JSON keys: trajectories, successes, labelled, labels_waiting (of runs that were not imported yet), labels_too_late
    (of runs whose landing files are gone: import these again), quarantined, superseded, reflections, stale_reflections
    (days whose reflections are missing or follow other logs or settings), memory_items, examples, cycles, cycles_due,
    adapters, models, base, champion, latest_report.
    """
    from synde_pipeline.evaluation.status import status

    found = status(load())
    if as_json:
        print_json(found)
        return
    print(text_table([(name, "-" if value is None else str(value)) for name, value in found.items()]))


def query_sql(
    query: Annotated[str, typer.Argument(help='For example "select domain, count(*) from raw_logs group by domain".')],
    as_json: AsJson = False,
) -> None:
    """Ask the warehouse in SQL (DuckDB).

    Tables: raw_logs, quarantine, superseded, reflections, memory_deltas, training_examples, cycles, training_shards.
    JSON: {"rows": [...]}.
    """
    from synde_pipeline.evaluation.query import sql

    frame = sql(Warehouse(load().warehouse), query)
    if as_json:
        text = frame.to_json(orient="records", date_format="iso", default_handler=str)
        print_json({"rows": json.loads(text or "[]")})
    else:
        print(frame.to_string(index=False))


def draw_graph(
    out: Annotated[Path, typer.Option(help="An SVG file.")] = Path("assets.svg"), as_json: AsJson = False
) -> None:
    """Draw the asset graph: what is made from what, by stage. The learning curve is drawn by `synde demo`.

    JSON keys: picture.
    """
    from synde_pipeline.definitions import defs
    from synde_pipeline.defs.picture import asset_graph
    from synde_pipeline.evaluation.plots import svg
    from synde_pipeline.storage import write_atomically

    write_atomically(out, svg(asset_graph(defs())))
    if as_json:
        print_json({"picture": str(out)})
    else:
        print(out)

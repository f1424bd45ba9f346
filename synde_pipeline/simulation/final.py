"""What a demo ends with: the four arms on seen and on new places, the learning curve, and the page that shows both."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synde_pipeline.evaluation.arms import ARMS
from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.evaluation.report import arms_table
from synde_pipeline.models.registry import champion
from synde_pipeline.page import render
from synde_pipeline.records import content_hash
from synde_pipeline.settings import Settings
from synde_pipeline.simulation.acting import PlaceRows, four_arms, rows_for_json, summary, sums_of
from synde_pipeline.simulation.lab import Lab
from synde_pipeline.simulation.loop import DAYS, DayRow, publish_json
from synde_pipeline.simulation.tasks import date_of, held_out_tasks, new_places, places
from synde_pipeline.storage import Warehouse, read_json, write_atomically

ARTEFACT = "demo_report"
N_TASKS = 480
"""Held-out tasks that each arm tries in the end."""
N_NEW_PLACES = 24


def measure(settings: Settings, last_day: int, arms: Sequence[str], n_tasks: int) -> dict[str, Any]:
    """The four-arm table on places that the agent knows and on places that it never saw, unless it lies there."""
    warehouse, config = Warehouse(settings.warehouse), settings.simulation
    assert config is not None  # noqa: S101 - only the demo asks
    days = [warehouse.header(DAYS, str(date_of(k))) for k in range(1, last_day + 1)]
    inputs = {
        "days": content_hash([header.content_hash if header else "" for header in days]),
        "champion": champion(warehouse).hash,
        "arms": ",".join(arms),
        "n_tasks": str(n_tasks),
    }
    key = str(date_of(last_day))
    held = warehouse.header(ARTEFACT, key)
    if held is not None and held.inputs == inputs:
        return read_json(warehouse.folder(ARTEFACT, key) / "demo.json")
    lab = Lab(warehouse, settings)
    served = champion(warehouse).domains
    sections = {}
    for name, where in (("seen places", places(config, last_day)), ("new places", new_places(config, N_NEW_PLACES))):
        tasks = held_out_tasks(where, "report", n_tasks, last_day + 1)
        found = four_arms(lab, tasks, served, lab.recall(tasks, date_of(last_day)), arms, seed=config.seed + 2)
        rows: PlaceRows = {arm: sums_of(found[arm]) for arm in arms}
        sections[name] = {**summary(rows, settings.evaluation), "places": rows_for_json(rows)}
    value = {"settings": config.model_dump(mode="json"), "days": last_day, "sections": sections}
    publish_json(warehouse, ARTEFACT, key, ("demo.json", value), inputs)
    return value


def state_hash(warehouse: Warehouse) -> str:
    """Content hash of everything that was learned and measured: equal histories have equal states."""
    found = []
    for artefact in sorted(path.name for path in warehouse.root.iterdir() if path.is_dir()):
        for key in warehouse.keys(artefact):
            header = warehouse.header(artefact, key)
            found.append([artefact, key, header.content_hash if header else ""])
    return content_hash({"artefacts": found, "champion": champion(warehouse).model_dump(mode="json")})


# -- showing ---------------------------------------------------------------------------------------------------------


def terminal_curve(rows: Sequence[DayRow], arms: Sequence[str]) -> str:
    """Success by day as a plot of characters: the day's own episodes, and each arm on held-out tasks."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(76, 18)
    days = [row.day for row in rows]
    for arm in arms:
        plotext.plot(days, [row.arms[arm]["success"] for row in rows], label=f"{arm} (held-out tasks)", marker=arm[0])
    plotext.ylim(0, 1)
    plotext.xticks(days if len(days) <= 10 else days[:: max(1, len(days) // 10)])
    plotext.title("success after each day, by arm: n, c, w, d")
    return plotext.uncolorize(plotext.build())


def write_pages(
    folder: Path, rows: Sequence[DayRow], measured: dict[str, Any], arms: Sequence[str]
) -> tuple[Path, Path]:
    """`curve.png` and `demo.html` (self-contained) for people who would rather look; returns their paths."""
    drawn, axes = figure(8, 4)
    days = [row.day for row in rows]
    for arm in arms:
        found = [row.arms[arm]["intervals"]["success"] for row in rows]
        axes.plot(days, [value["value"] for value in found], "o-", color=ARM_COLOURS[arm], label=arm, markersize=4)
        low, high = [value["low"] for value in found], [value["high"] for value in found]
        axes.fill_between(days, low, high, color=ARM_COLOURS[arm], alpha=0.12, linewidth=0)
    axes.plot(days, [row.n_success / row.n for row in rows], "k:", label="the day's own episodes")
    axes.set_ylim(0, 1)
    axes.set_xticks(days[:: max(1, len(days) // 10)])
    axes.set_xlabel("day")
    axes.set_ylabel("share of tasks solved")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    png, page = folder / "curve.png", folder / "demo.html"
    write_atomically(png, buffer.getvalue())
    write_atomically(
        page,
        render(
            "simulation/demo.html.j2",
            picture=svg(drawn),
            rows=rows,
            arms=arms,
            measured=measured,
            tables={name: arms_table(section, arms=arms, plain=True) for name, section in measured["sections"].items()},
        ),
    )
    return png, page


DAY_HEAD = (
    f"{'day':>4}  {'solved':>9}  {'memory':>6}  {'held-out tasks: ' + ' / '.join(ARMS):<44}  {'waiting':<24}  champion"
)


def day_line(row: DayRow) -> str:
    """One row of the progress table."""
    arms = " / ".join(f"{values['success']:.2f}" for values in row.arms.values())
    waiting = " ".join(f"{domain} {n}" for domain, n in row.waiting.items()) or "-"
    served = " ".join(row.champion.values()) or "base"
    solved = f"{row.n_success}/{row.n} {row.n_success / row.n:.0%}"
    return f"{row.day:>4}  {solved:>9}  {row.memory_items:>6}  {arms:<44}  {waiting:<24}  {served}"

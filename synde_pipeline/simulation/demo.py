"""The demo: a laboratory in its own folder, lived day by day, measured at the end.

Everything that decides what happens is in the laboratory's `settings.json`; the same words find the same folder, so a
second call goes on where the first one stopped, or changes nothing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import one_thread, pin_given
from synde_pipeline.evaluation.report import arms_table
from synde_pipeline.records import content_hash
from synde_pipeline.settings import (
    PRESETS,
    SETTINGS_FILE,
    BufferConfig,
    MemoryConfig,
    Settings,
    SimulationConfig,
)
from synde_pipeline.simulation.final import (
    DAY_HEAD,
    N_TASKS,
    day_line,
    measure,
    state_hash,
    terminal_curve,
    write_pages,
)
from synde_pipeline.simulation.loop import DayRow, Loop, RunDays
from synde_pipeline.simulation.tasks import FIRST_DAY
from synde_pipeline.storage import Warehouse, write_atomically

EMBEDDED_BASE = Path(__file__).parents[2] / "data" / "base_model"
"""The embedded base model of this checkout."""
THRESHOLD = 200
"""Examples that start a cycle: a domain trains every two to four days."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a call of the demo did for one seed."""

    settings: Settings
    rows: list[DayRow]
    n_lived: int
    """Days that had to be lived in this call."""
    measured: dict[str, Any]
    page: Path
    picture: Path
    state: str
    """Content hash of all that was learned and measured."""

    def for_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "home": str(self.settings.home),
            "days_lived_now": self.n_lived,
            "days": [asdict(row) for row in self.rows],
            "measured": self.measured["sections"],
            "page": str(self.page),
            "picture": str(self.picture),
            "state": self.state,
        }


def defaults(seed: int) -> Settings:
    """Settings of a laboratory with nothing changed."""
    return Settings(
        home=Path(),
        start_day=FIRST_DAY,
        base_model=str(EMBEDDED_BASE),
        # What holds at a place shows in one run; in a world without chance one task's word is enough.
        memory=MemoryConfig(min_tasks=1),
        buffer=BufferConfig(threshold=THRESHOLD),
        training=PRESETS["world"],
        simulation=SimulationConfig(seed=seed),
    )


def laboratory(home: Path, settings: Settings) -> Settings:
    """Place a laboratory below `home`, in a folder named by what differs from the defaults, and write its settings."""
    assert settings.simulation is not None  # noqa: S101 - made from `defaults`
    name = f"seed-{settings.simulation.seed}"
    values = settings.model_dump(mode="json", exclude={"home"})
    if settings != defaults(settings.simulation.seed):
        name += f"-{content_hash({**values, 'base_model': None})[:8]}"
    placed = settings.model_copy(update={"home": home / name})
    text = json.dumps(values, indent=1) + "\n"
    path = placed.home / SETTINGS_FILE
    if not path.exists() or path.read_text("utf-8") != text:
        write_atomically(path, text)
    return placed


def live(
    settings: Settings, days: int, arms: Sequence[str], run: RunDays, say: Say, *, n_tasks: int = N_TASKS
) -> Outcome:
    """Live the days that were not lived yet, then measure; tells every day's row as soon as it is there.

    Args:
        settings: of the laboratory.
        days: how many days there are in all.
        arms: arms of the last table.
        run: brings the warehouse up to date after a day.
        say: told every line for people.
        n_tasks: held-out tasks that each arm tries in the end.
    """
    loop = Loop(settings, run)
    pin_given(loop.warehouse, settings)
    say(DAY_HEAD)
    rows, n_lived = [], 0
    with one_thread():
        for number in range(1, days + 1):
            row, is_new = loop.day(number)
            n_lived += is_new
            rows.append(row)
            say(day_line(row))
        measured = measure(settings, days, arms, n_tasks)
    picture, page = write_pages(settings.home, rows, measured, arms)
    return Outcome(settings, rows, n_lived, measured, page, picture, state_hash(Warehouse(settings.warehouse)))


def closing(outcome: Outcome, arms: Sequence[str]) -> str:
    """What people read when all days are lived: the curve, the tables and where to look."""
    lines = ["", terminal_curve(outcome.rows, arms)]
    for name, section in outcome.measured["sections"].items():
        lines += [
            "",
            f"after day {outcome.rows[-1].day}, {name}: tasks that no day handed out",
            arms_table(section, arms=arms),
        ]
    lines += [
        "",
        f"page:    {outcome.page}",
        f"picture: {outcome.picture}",
        f"look at it in Dagster: SYNDE_HOME={outcome.settings.home} synde ui",
        f"state:   {outcome.state[:16]}",
    ]
    if not outcome.n_lived:
        lines.append("nothing was done: every one of these days had been lived already")
    return "\n".join(lines)


def over_seeds(outcomes: Sequence[Outcome], arms: Sequence[str]) -> str:
    """Each seed's arms beside each other, and their mean with the standard error over seeds."""
    lines = []
    for name in outcomes[0].measured["sections"]:
        lines += [
            "",
            f"{name}: success by seed",
            f"{'arm':<10}"
            + "".join(f"{s.settings.simulation.seed:>8}" for s in outcomes if s.settings.simulation)
            + "    mean (se over seeds)",
        ]
        for arm in arms:
            values = [outcome.measured["sections"][name]["arms"][arm]["success"] for outcome in outcomes]
            mean = sum(values) / len(values)
            spread = (sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1) / len(values)) ** 0.5
            lines.append(
                f"{arm:<10}" + "".join(f"{value:>8.3f}" for value in values) + f"    {mean:.3f} ({spread:.3f})"
            )
    return "\n".join(lines)

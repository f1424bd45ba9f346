"""One run of a study: what it may use, what it says, and how its files come to lie in `studies/<name>/`, all at once.

A study takes its expensive parts through `StudyRun.part`, so that an interrupted run goes on where it stopped.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synde_pipeline import page
from synde_pipeline.records.base import content_hash
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse, files_hash, read_json, write_atomically
from synde_pipeline.studies.code import code_hash
from synde_pipeline.studies.registry import Claim, Preset, about, study_of

ARTEFACT = "studies"
CLAIMS, REPORT, PAGE = "claims.json", "report.json", "report.html"
PARTS = "study_parts"
RunDays = Callable[[Settings, Sequence[Any]], Any]
"""Brings the warehouse of these settings up to date with these days: `defs.run.run`."""


@dataclass(frozen=True)
class Section:
    """A part of a study's page: words, a table, pictures."""

    heading: str
    text: str = ""
    rows: Sequence[dict[str, Any]] = ()
    """Lines of a table with the same columns; numbers are shown with four digits."""
    plots: Sequence[str] = ()
    """SVG texts, see `evaluation.plots`."""


@dataclass
class StudyRun:
    """What a study is handed, and collects what it found."""

    name: str
    preset: Preset
    folder: Path
    """New and empty; files that a study writes here are published with its report."""
    settings: Settings
    """The user's: embedder, endpoint, files of benchmarks. What a study measures does not depend on the home."""
    run_days: RunDays
    sections: list[Section] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    """Everything measured, for `report.json`."""

    @property
    def is_quick(self) -> bool:
        """Whether it is only to be seen working."""
        return self.preset == "quick"

    @property
    def command(self) -> str:
        """What runs it again."""
        return f"synde study {self.name} --preset {self.preset}"

    def part(self, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """A JSON value: computed, or read if this very code computed it for this key before.

        Args:
            key: everything that the value depends on: seed, sizes, settings.
            compute: makes it; what it returns must be JSON.
        """
        hashed = content_hash({"study": self.name, "key": key, "code": code_hash(self.name)})
        path = Warehouse(self.settings.warehouse).root / PARTS / self.name / f"{hashed[:32]}.json"
        if path.exists():
            return read_json(path)["value"]
        value = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"key": key, "value": value}, ensure_ascii=False))
        return json.loads(json.dumps(value))

    def show(
        self, heading: str, text: str = "", *, rows: Sequence[dict[str, Any]] = (), plots: Sequence[str] = ()
    ) -> None:
        """Put a section on the page."""
        self.sections.append(Section(heading, text, rows, plots))

    def claim(self, name: str, source: str, claim: str, **measured: Any) -> Claim:
        """A claim of this study; `measured` gives `measured`, `error`, `n`, `verdict` and `what`."""
        return Claim(id=f"{self.name}.{name}", source=source, claim=claim, command=self.command, **measured)


def run_study(
    settings: Settings, name: str, run_days: RunDays, *, preset: Preset = "full"
) -> tuple[list[Claim], Header]:
    """Run a study and publish its files all at once; returns its claims, which lie beside them.

    Args:
        settings: whose warehouse takes the files.
        name: of the study.
        run_days: for studies that live days in a laboratory.
        preset: how much is measured.

    Raises:
        InputError: there is no study of that name.
    """
    study, warehouse = study_of(name), Warehouse(settings.warehouse)
    claims: list[Claim] = []

    def write(folder: Path) -> None:
        run = StudyRun(name, preset, folder, settings, run_days)
        claims.extend(study(run))
        said = [claim.model_dump(mode="json") for claim in claims]
        _write_json(folder / CLAIMS, said)
        if not (folder / REPORT).exists():
            _write_json(folder / REPORT, {"study": name, "preset": preset, "claims": said, **run.numbers})
        if not (folder / PAGE).exists():
            (folder / PAGE).write_text(render(run, claims), "utf-8")

    def describe(folder: Path) -> Header:
        counts = {"claims": len(claims)}
        info = {"preset": preset}
        return Header(
            artefact=artefact_of(name), key="", content_hash=files_hash(folder), counts=counts, info=info,
            inputs={"code": code_hash(name)},
        )  # fmt: skip

    header = warehouse.publish_folder(artefact_of(name), "", write, describe)
    return claims, header


def is_done(settings: Settings, name: str, preset: Preset) -> bool:
    """Whether this very code has run a study at this preset, or at a larger one."""
    header = Warehouse(settings.warehouse).header(artefact_of(name), "")
    return (
        header is not None
        and header.inputs.get("code") == code_hash(name)
        and header.info["preset"] in (preset, "full")
    )


def artefact_of(name: str) -> str:
    """Artefact that holds a study's files."""
    return f"{ARTEFACT}/{name}"


def render(run: StudyRun, claims: Sequence[Claim]) -> str:
    """A study's page: no script, no outside resource, every text escaped."""
    return page.render("studies/study.html.j2", about=about(run.name), run=run, claims=claims, cell=cell)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float | tuple | list):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "[" + ", ".join(map(cell, value)) + "]"


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), "utf-8")

"""Our own JSON lines: one `Trajectory` a line, as it writes itself."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from synde_pipeline.logs.importers.base import Declared, Draft, Importer
from synde_pipeline.records import Trajectory

_KEYS = {"trace_uid", "task_id", "domain", "steps", "outcome", "label_source"}


class Canonical(Importer):
    """Importer of trajectories that are ready: nothing is changed."""

    name = "synde"
    declared = Declared(
        identity="`trace_uid`",
        time="`day`; `started_at` and `ended_at` where they are known",
        domain="`domain`",
        task="`task`",
        steps="`steps`",
        outcome="`outcome`",
        label_source="`label_source`",
        dropped=("nothing",),
    )
    known = frozenset(Trajectory.model_fields)

    def detects(self, document: Any) -> bool:
        """A list with an object of our own fields."""
        return isinstance(document, list) and any(isinstance(row, dict) and row.keys() >= _KEYS for row in document)

    def rows(self, document: Any) -> Iterator[Any]:
        """Yield the lines."""
        yield from document

    def parse(self, row: Any, document: Any, path: Path) -> Draft:
        """Read one trajectory; a newer schema or a field that is unknown is refused."""
        found = Trajectory.model_validate(row)
        return Draft(
            **{column.name: getattr(found, column.name) for column in fields(Draft) if column.name != "labels"}
        )

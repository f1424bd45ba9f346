"""Days of runs whose logs carry no time, in the order of their files and of the blocks of long files."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from synde_pipeline.errors import InputError
from synde_pipeline.logs.blocks import count_lines

DayRule = Callable[[int, int], date]
"""(row number, rows in the file) -> day, for rows whose log carries no time."""


@dataclass
class Days:
    """A rule, and how far it is in each file."""

    rule: DayRule | None
    _n_given: Counter[Path] = field(default_factory=Counter)
    _n_lines: dict[Path, int] = field(default_factory=dict)

    def for_next(self, n_undated: int, path: Path, *, is_block: bool) -> Callable[[int], date]:
        """The days of the next undated runs of a file, by their number among these.

        The rule is told how many runs the file spreads over its days: of a file that is read in blocks all its lines.

        Raises:
            InputError: there is no rule.
        """
        if self.rule is None:
            raise InputError(
                f"{path.name}: {n_undated} trajectories carry no time",
                expected="a rule that gives them days",
                remedy="add --start-day YYYY-MM-DD --per-day N",
            )
        if is_block and path not in self._n_lines:
            self._n_lines[path] = count_lines(path)
        rule, first = self.rule, self._n_given[path]
        self._n_given[path] += n_undated
        n_rows = max(self._n_given[path], self._n_lines.get(path, 0))
        return lambda number: rule(first + number, n_rows)

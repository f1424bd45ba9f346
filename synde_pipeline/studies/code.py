"""Which code numbers come from, as a hash: what other code measured is measured again."""

import ast
from functools import lru_cache
from pathlib import Path

from synde_pipeline.records.base import content_hash
from synde_pipeline.studies.registry import STUDIES

PACKAGE = Path(__file__).parents[1]
STUDIES_FOLDER = Path(__file__).parent
PREFIX = "synde_pipeline.studies"
NO_NUMBERS = {STUDIES_FOLDER / "registry.py", STUDIES_FOLDER / "code.py"}
"""Modules that no number comes from: another study in the table changes nothing of this one."""


@lru_cache(maxsize=len(STUDIES) + 1)
def code_hash(study: str | None = None) -> str:
    """Hash of the package, of whose studies and command line only what one study imports counts.

    Args:
        study: whose numbers; None for what laboratories live, which no study decides.
    """
    shared = [
        file for file in PACKAGE.rglob("*.py") if STUDIES_FOLDER not in file.parents and not file.name.startswith("cli")
    ]
    own = modules_of(study) if study else set()
    return content_hash(
        {str(file.relative_to(PACKAGE.parent)): file.read_text("utf-8") for file in sorted({*shared, *own})}
    )


def modules_of(study: str) -> set[Path]:
    """The files of `studies` that a study imports, from wherever in a file, and those that these import."""
    waiting, found = [STUDIES[study].partition(":")[0]], set()
    while waiting:
        file = _file_of(waiting.pop())
        if file is not None and file not in found | NO_NUMBERS:
            found.add(file)
            waiting += _imported_by(file)
    return found


def _imported_by(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` names a module too; what is no file is passed over.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.startswith(PREFIX)]


def _file_of(module: str) -> Path | None:
    path = PACKAGE.parent / Path(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)

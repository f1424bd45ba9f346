"""Our side of `synde bench merge`: the streamed merge as `synde run` calls it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]


def ours(words: Words) -> Prepared:
    """All adapters into the base in one pass."""
    from synde_pipeline.models.stream import merge_files

    out = Path(words["out"])

    def run() -> dict[str, Any]:
        merge_files(Path(words["base"]), [Path(folder) for folder in words["adapters"]], out)
        return {}

    return run, lambda: shutil.rmtree(out, ignore_errors=True)

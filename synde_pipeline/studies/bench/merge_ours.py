"""Our side of `synde bench merge`: the streamed merge as `synde run` calls it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]


def ours(words: Words) -> Prepared:
    """All adapters into the base in one pass."""
    import torch  # noqa: F401 - an import, so before the floor is measured

    from synde_pipeline.models.stream import merge_files
    from synde_pipeline.training.lora import read

    out = Path(words["out"])

    def run() -> dict[str, Any]:
        out.mkdir()
        facts = merge_files(Path(words["base"]), [(read(Path(folder)), 1.0) for folder in words["adapters"]], out)
        return {"matrices": facts.n_matrices}

    return run, lambda: shutil.rmtree(out, ignore_errors=True)

"""The peers of `synde bench merge`: cp (the limit), PEFT with one and with eight adapters, mergekit.

Runs in the peers' environment, see `worker`: imports nothing of SynDE, and `cp` nothing but the standard library. A
round starts with the base on disk and ends with the merged model on disk. Nobody but `cp_fsync` is asked to wait for
the disk.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]


def cp(words: Words) -> Prepared:
    """Copy the base's bytes: no merge can write the same amount for less."""
    out = Path(words["out"])

    def run() -> dict[str, Any]:
        subprocess.run(["cp", "--reflink=never", "-r", words["base"], str(out)], check=True)
        if words.get("fsync"):
            for path in out.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        return {}

    return run, _removing(out)


def peft(words: Words) -> Prepared:
    """merge_and_unload and save_pretrained; several adapters are first joined exactly, by PEFT's `cat`."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.models.llama import modeling_llama  # noqa: F401 - an import, so before the floor is measured

    first, *others = words["adapters"]

    def run() -> dict[str, Any]:
        base = AutoModelForCausalLM.from_pretrained(words["base"], dtype=torch.bfloat16)
        model = PeftModel.from_pretrained(base, first, adapter_name="a0")
        for number, folder in enumerate(others, start=1):
            model.load_adapter(folder, adapter_name=f"a{number}")
        if others:
            names = [f"a{number}" for number in range(len(words["adapters"]))]
            model.add_weighted_adapter(names, [1.0] * len(names), "all", combination_type="cat")
            model.set_adapter("all")
            for name in names:
                model.delete_adapter(name)
        model.merge_and_unload().save_pretrained(words["out"])
        return {}

    return run, _removing(Path(words["out"]))


def mergekit(words: Words) -> Prepared:
    """The way of mergekit to merge a LoRA: a passthrough of `base+adapter`, as one shard as ours is."""
    from mergekit.config import MergeConfiguration  # type: ignore - of the peers' environment
    from mergekit.merge import run_merge  # type: ignore - of the peers' environment
    from mergekit.options import MergeOptions  # type: ignore - of the peers' environment

    cache = f"{words['out']}-cache"
    config = MergeConfiguration.model_validate(
        {
            "merge_method": "passthrough",
            "dtype": "bfloat16",
            "models": [{"model": f"{words['base']}+{words['adapters'][0]}"}],
        }
    )
    options = MergeOptions(lora_merge_cache=cache, lora_merge_dtype="bfloat16", copy_tokenizer=False, quiet=True)

    def run() -> dict[str, Any]:
        run_merge(config, words["out"], options)
        return {}

    return run, _removing(Path(words["out"]), Path(cache))


def _removing(*folders: Path) -> Callable[[], None]:
    def tidy() -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    return tidy

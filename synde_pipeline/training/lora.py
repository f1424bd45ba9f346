"""LoRA adapters in PEFT's on-disk format: writing and reading their matrices, without PEFT.

Several adapters side by side on one model are in `bank`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.errors import LineageError

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterWeights:
    """The matrices of one adapter. delta W = scale * B @ A."""

    scale: float
    matrices: dict[str, tuple[Any, Any]]
    """Module name -> (A of shape (rank, in), B of shape (out, rank)), float32."""
    transposed: bool = False
    """Whether the model keeps its weights as (in, out), as GPT-2's Conv1D does (PEFT's `fan_in_fan_out`)."""


def read(folder: Path) -> AdapterWeights:
    """Read an adapter folder written by PEFT.

    Raises:
        LineageError: it is no LoRA adapter that can be added to weights.
    """
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("bias", "none") != "none":
        raise LineageError(f"{folder} is no plain LoRA adapter", expected="peft_type LORA without DoRA or biases")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise LineageError(
            f"{folder} has a rank or an alpha for some modules of their own",
            expected="one r and one lora_alpha for all",
            remedy="save the adapter without rank_pattern and alpha_pattern",
        )
    tensors = {name: tensor.float() for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
    matrices = {}
    for name, a in sorted(tensors.items()):
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            matrices[module] = (a, tensors[name.replace(".lora_A.", ".lora_B.")])
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    return AdapterWeights(scale, matrices, transposed=bool(config.get("fan_in_fan_out")))


def write(adapter: AdapterWeights, folder: Path, base: tuple[str, str | None], *, transposed: bool = False) -> None:
    """Write an adapter folder that PEFT loads, without PEFT; equal adapters give equal bytes.

    Args:
        adapter: its matrices; all of one rank.
        folder: made if it is not there.
        base: name and revision of the model it was trained on.
        transposed: whether the model keeps these weights as (in, out), as GPT-2's Conv1D does.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    rank = next(iter(adapter.matrices.values()))[0].shape[0]
    tensors = {}
    for name, (a, b) in adapter.matrices.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.detach().float().contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.detach().float().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "base_model_name_or_path": base[0],
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": True,
        "lora_alpha": adapter.scale * rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "revision": base[1],
        "target_modules": sorted(adapter.matrices),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")

"""LoRA adapters in PEFT's on-disk format: attaching a fresh one, saving it, writing and reading its matrices.

Several adapters side by side on one model are in `bank`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import LineageError
from synde_pipeline.settings import TrainingConfig

_PREFIX = "base_model.model."


def attach(model: Any, config: TrainingConfig) -> Any:
    """Put a fresh LoRA adapter on the MLP matrices of a model; only the adapter is trainable (section 6.4)."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(config.seed)  # PEFT draws A from the global generator; B starts at zero
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type] - PEFT divides it, any number works
        lora_dropout=config.dropout,
        target_modules=mlp_targets(model),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def save(peft_model: Any, folder: Path, base_name: str, base_revision: str | None) -> None:
    """Save the adapter alone: `adapter_model.safetensors` and `adapter_config.json`, bound to its base by name."""
    peft_config = peft_model.peft_config["default"]
    peft_config.base_model_name_or_path = base_name
    peft_config.revision = base_revision
    # PEFT keeps a set: sort it, or equal adapters would differ in bytes.
    peft_config.target_modules = sorted(peft_config.target_modules)
    # The embedding is never trained; left on `auto`, PEFT would ask the hub whether its size changed.
    peft_model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty template; lineage.json says more


@dataclass(frozen=True)
class AdapterWeights:
    """The matrices of one adapter. delta W = scale * B @ A."""

    scale: float
    matrices: dict[str, tuple[Any, Any]]
    """Module name -> (A of shape (rank, in), B of shape (out, rank)), float32."""


def read(folder: Path) -> AdapterWeights:
    """Read an adapter folder written by PEFT.

    Raises:
        LineageError: it is no LoRA adapter that can be added to weights.
    """
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("bias", "none") != "none":
        raise LineageError(f"{folder} is no plain LoRA adapter", expected="peft_type LORA without DoRA or biases")
    tensors = {name: tensor.float() for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
    matrices = {}
    for name, a in sorted(tensors.items()):
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            matrices[module] = (a, tensors[name.replace(".lora_A.", ".lora_B.")])
    rank = config["r"]
    return AdapterWeights(config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank), matrices)


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

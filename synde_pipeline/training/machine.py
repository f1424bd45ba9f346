"""The machine under a training: where the frozen weights lie and in which type, and how much memory it will take."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from synde_pipeline.base_model import lora_targets
from synde_pipeline.errors import BaseModelError, InputError
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.training.bank import AdapterBank

_CGROUP = Path("/sys/fs/cgroup")
_GB = 1 << 30
_HIDDEN_PER_TOKEN, _INNER_PER_TOKEN = 16, 5
"""Floats that one layer keeps for the backward pass of a token, in units of the model's width and of its MLP's."""


def device_of(machine: MachineConfig) -> torch.device:
    """The device that a training uses.

    Raises:
        InputError: a GPU is asked for where torch sees none.
    """
    has_gpu = torch.cuda.is_available()
    if machine.device == "cuda" and not has_gpu:
        raise InputError("device cuda where torch sees no GPU", expected="auto or cpu", remedy="change the device")
    return torch.device("cuda" if has_gpu and machine.device != "cpu" else "cpu")


def load_in_4bit(folder: Path) -> Any:
    """Load a model folder with its frozen matrices in 4 bits, for training alone: merging starts from full precision.

    Raises:
        BaseModelError: there is no GPU, or bitsandbytes is not installed.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if not torch.cuda.is_available() or find_spec("bitsandbytes") is None:
        lacks = "bitsandbytes" if torch.cuda.is_available() else "a GPU"
        raise BaseModelError(
            f"weights_dtype=4bit on a machine without {lacks}",
            expected="an NVIDIA GPU that torch sees, and bitsandbytes",
            remedy="set weights_dtype to bfloat16 or float32, or `pip install bitsandbytes`",
        )
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        str(folder), quantization_config=how, use_safetensors=True, trust_remote_code=False, local_files_only=True
    ).eval()


@contextmanager
def held(model: Any, bank: AdapterBank, config: TrainingConfig, machine: MachineConfig) -> Iterator[None]:
    """Hold the frozen weights on the training device in the training type; the given ones come back untouched.

    Raises:
        InputError: 4 bits are asked for and the model was not loaded so.
    """
    is_4bit = getattr(model, "is_loaded_in_4bit", False)
    if (config.weights_dtype == "4bit") != is_4bit:
        raise InputError(
            f"weights_dtype={config.weights_dtype} with a model that is{'' if is_4bit else ' not'} quantised",
            remedy="load it by load_in_4bit for 4bit, by base_model.load for the others",
        )
    device = device_of(machine)
    dtype = torch.bfloat16 if config.weights_dtype == "bfloat16" else torch.float32
    own = {} if is_4bit else {tensor: tensor.data for tensor in (*model.parameters(), *model.buffers())}
    weights = set(model.parameters())
    before = bank.table.device
    try:
        for tensor, data in own.items():
            tensor.data = data.to(device, dtype if tensor in weights else data.dtype)
        bank.table.data = bank.table.data.to(device)
        yield
    finally:
        for tensor, data in own.items():
            tensor.data = data
        bank.table.grad = None
        bank.table.data = bank.table.data.to(before)


def estimate_memory(model: Any, groups: Sequence[Sequence[Any]], config: TrainingConfig, machine: MachineConfig) -> int:
    """Bytes that training will take at its peak on its device: an estimate from sizes, on the safe side.

    Args:
        model: the loaded base.
        groups: for each adapter its rows.
        config: of the training.
        machine: its limits.
    """
    shape = model.config.get_text_config()
    modules = dict(model.named_modules())
    targets = [modules[name] for name in lora_targets(model, o_proj=config.o_proj)]
    sizes = [tuple(module.weight.shape) for module in targets]
    n_adapters = len(groups)
    factors = n_adapters * config.rank * sum(rows + columns for rows, columns in sizes)
    folds = config.weights_dtype == "float32" and not config.dropout
    folded = n_adapters * sum(rows * columns for rows, columns in sizes) if folds else 0
    per_weight = {"float32": 4.0, "bfloat16": 2.0, "4bit": 0.6}[config.weights_dtype]
    weights = per_weight * sum(parameter.numel() for parameter in model.parameters())
    rows = [row for group in groups for row in group]
    longest = max(len(row["input_ids"]) for row in rows)
    share = max(sum(w > 0 for w in row["weights"]) / len(row["weights"]) for row in rows)
    tokens = max(machine.tokens_at_once, longest)
    inner = max(max(size) for size in sizes)
    layer = _HIDDEN_PER_TOKEN * shape.hidden_size + _INNER_PER_TOKEN * inner
    n_layers = shape.num_hidden_layers
    kept = layer + n_layers * shape.hidden_size if machine.gradient_checkpointing else n_layers * layer
    head = 4 * share * shape.vocab_size
    return int(weights + 4 * (4 * factors + folded + tokens * (kept + head)))


def check_memory(model: Any, groups: Sequence[Sequence[Any]], config: TrainingConfig, machine: MachineConfig) -> int:
    """The estimate, if it is within the machine's limit or what it has free.

    Raises:
        InputError: it is not.
    """
    found = estimate_memory(model, groups, config, machine)
    limit = machine.max_memory_gb * _GB if machine.max_memory_gb else _free(device_of(machine))
    if limit is not None and found > limit:
        raise InputError(
            f"training would take about {found / _GB:.2f} GB",
            expected=f"{limit / _GB:.2f} GB at most",
            remedy="lower machine.tokens_at_once, set machine.gradient_checkpointing, hold the weights in bfloat16, "
            "or train fewer adapters at once",
        )
    return found


def _free(device: torch.device) -> float | None:
    """Bytes that the device has free; None where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    found = [free for free in (_free_of_system(), _free_of_cgroup(_CGROUP)) if free is not None]
    return min(found, default=None)


def _free_of_system() -> float | None:
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text("utf-8").splitlines())
    return float(lines["MemAvailable"].split()[0]) * 1024


def _free_of_cgroup(folder: Path) -> float | None:
    """What a container's limit leaves; None without one (cgroup version 2)."""
    limit, used = folder / "memory.max", folder / "memory.current"
    if not (limit.exists() and used.exists()) or limit.read_text("utf-8").strip() == "max":
        return None
    return float(limit.read_text("utf-8")) - float(used.read_text("utf-8"))

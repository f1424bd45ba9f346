"""`synde bench merge`: rank-1 adapters into a bf16 base on disk, against cp, PEFT and mergekit."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from synde_pipeline.studies.bench import merge_ours, merge_peers
from synde_pipeline.studies.bench.contest import PEERS_PYTHON, Contestant, Entry, contest, paired
from synde_pipeline.studies.bench.result import Result, Target
from synde_pipeline.studies.bench.train_work import Size, llama

N_ADAPTERS = 8
SIZES = {
    "small": Size(8192, 768, 3072, 6, 12),
    "large": Size(24000, 1536, 6144, 14, 12),
}
"""small: 0.14 GB, for a look. large: 1.2 GB, two thirds of it MLP."""

_TIMES_CP = 2.5
_ABOVE_FLOOR_MB = 64.0


def bench_merge(size: str, rounds: int, peers_python: Path = PEERS_PYTHON, *, keep: bool = False) -> Result:
    """All contestants on the same base and adapters; `keep` leaves the base for the next call."""
    cache = Path(tempfile.gettempdir()) / f"synde-bench-merge-{size}"
    try:
        base, adapters = cache / "base", [cache / f"adapter-{k}" for k in range(N_ADAPTERS)]
        if not (cache / "complete").exists():
            shutil.rmtree(cache, ignore_errors=True)
            write_base(SIZES[size], base, adapters)
            (cache / "complete").touch()
        entries = contest(_contestants(cache, base, adapters), rounds, peers_python)
        n_bytes = sum(path.stat().st_size for path in base.iterdir())
    finally:
        if not keep:
            shutil.rmtree(cache, ignore_errors=True)
    work = {"base_gb": round(n_bytes / 1e9, 3), "dtype": "bfloat16", "adapters": N_ADAPTERS, "rank": 1}
    return Result("merge", size, work, entries, targets=_targets(entries, size))


def _contestants(cache: Path, base: Path, adapters: list[Path]) -> list[Contestant]:
    ours, peers = Path(merge_ours.__file__), Path(merge_peers.__file__)

    def words(name: str, n_adapters: int) -> dict[str, Any]:
        return {"base": str(base), "adapters": [str(path) for path in adapters[:n_adapters]], "out": str(cache / name)}

    return [
        Contestant("ours", ours, "ours", words("ours", N_ADAPTERS), versus=None),
        Contestant("ours_single", ours, "ours", words("ours_single", 1)),
        Contestant("cp", peers, "cp", words("cp", 0)),
        Contestant("cp_fsync", peers, "cp", words("cp_fsync", 0) | {"fsync": True}),
        Contestant("peft_cat", peers, "peft", words("peft_cat", N_ADAPTERS), is_peer=True),
        Contestant("peft_single", peers, "peft", words("peft_single", 1), is_peer=True, versus="ours_single"),
        Contestant("mergekit_single", peers, "mergekit", words("mergekit", 1), is_peer=True, versus="ours_single"),
    ]


def _targets(entries: list[Entry], size: str) -> list[Target]:
    by_name = {entry.contestant.name: entry for entry in entries}
    targets = []
    for quantity, word in (("cpu_s", "CPU time"), ("wall_s", "wall time")):
        ratio = paired(by_name["ours"], by_name["cp"], quantity)
        measured, interval = (None, None) if ratio is None else (ratio[0], ratio[1:])
        claim = f"{word} of ours with {N_ADAPTERS} adapters over cp, {size} base"
        targets.append(Target(claim, measured, _TIMES_CP, "at most", interval))
    above = max((item.above_floor_mb for item in by_name["ours"].rounds), default=None)
    claim = f"resident memory of ours with {N_ADAPTERS} adapters above the import floor (MB), {size} base"
    return [*targets, Target(claim, above, _ABOVE_FLOOR_MB, "at most")]


def write_base(size: Size, base: Path, adapters: list[Path]) -> None:
    """Write a random bf16 Llama and random adapters on its MLP."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaForCausalLM

    from synde_pipeline.base_model import mlp_targets
    from synde_pipeline.training.lora import AdapterWeights, write

    config = llama(size, tied=False)
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    base.mkdir(parents=True)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(base)
    tensors = {
        name: torch.empty(tensor.shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    shapes = {name: tensors[f"{name}.weight"].shape for name in mlp_targets(model)}
    for folder in adapters:
        matrices = {
            name: (
                torch.randn(1, n_in, generator=generator) / n_in**0.5,
                torch.randn(n_out, 1, generator=generator) * 1e-3,
            )
            for name, (n_out, n_in) in shapes.items()
        }
        write(AdapterWeights(1.0, matrices), folder, (str(base), None))

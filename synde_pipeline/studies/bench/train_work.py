"""The work of `synde bench train` and `synde bench prefix`: random models, token sequences, who takes part.

Sequences have lognormal lengths, as agents' trajectories do, and 23 % of their tokens are targets, in several turns.
All contestants start from the same weights, see the same sequences and targets, put rank-1 LoRA on the MLP, and train
it with AdamW for a few optimiser steps, each over all sequences. Loss of the first step is compared: same work, same
number.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from synde_pipeline.studies.bench import train_ours, train_peers
from synde_pipeline.studies.bench.contest import Contestant

TARGET_SHARE = 0.23
STEPS = 3
"""Optimiser steps of a round: what a training does once is spread over few of them."""
TRAINING = {"rank": 1, "alpha": 16, "learning_rate": 1e-3, "steps": STEPS}


@dataclass(frozen=True)
class Size:
    """A model and a batch of sequences for it."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    n_sequences: int = 0
    log_mean: float = 0.0
    """Mean of the logarithm of the lengths (tokens)."""
    log_sd: float = 0.0


SIZES = {
    "small": Size(4096, 256, 672, 4, 4, n_sequences=12, log_mean=5.185, log_sd=0.81),
    "large": Size(8192, 640, 1728, 11, 10, n_sequences=4, log_mean=5.32, log_sd=1.1),
}
"""small: 4 M parameters, 12 sequences of 248 tokens on average and 726 at most. large: 60 M, 4 sequences."""

Sequence_ = dict[str, list[int]]
"""`input_ids`, and `targets` (1 where the token is learned)."""


def sequences(size: Size, seed: int = 0) -> list[Sequence_]:
    """Random tokens at the quantiles of a lognormal distribution of lengths; about 23 % are targets."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(size.n_sequences):
        z = NormalDist().inv_cdf((k + 0.5) / size.n_sequences)
        n_tokens = round(math.exp(size.log_mean + size.log_sd * z))
        n_turns = max(1, n_tokens // 100)
        turn = n_tokens // n_turns
        n_targets = round(turn * TARGET_SHARE)
        targets = ([0] * (turn - n_targets) + [1] * n_targets) * n_turns
        found.append(_sequence([0] * (n_tokens - len(targets)) + targets, size, rng))
    return [found[k] for k in rng.permutation(len(found))]


def trajectories(size: Size, n: int = 2, n_steps: int = 10, seed: int = 0) -> list[list[Sequence_]]:
    """Append-only trajectories, each as its steps: all that came before, then the step's action as the only target."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        mask = [0] * (80 + 20 * k)  # task
        ends = []
        for _ in range(n_steps):
            mask += [0] * (70 + 5 * k) + [1] * 25
            ends.append(len(mask))
        whole = _sequence(mask, size, rng)["input_ids"]
        found.append([{"input_ids": whole[:end], "targets": [0] * (end - 25) + [1] * 25} for end in ends])
    return found


def shared(trajectory: Sequence[Sequence_]) -> Sequence_:
    """The steps of a trajectory as one sequence: the longest one with the targets of all."""
    last = trajectory[-1]["input_ids"]
    targets = [0] * len(last)
    for step in trajectory:
        for position, is_target in enumerate(step["targets"]):
            targets[position] |= is_target
    return {"input_ids": last, "targets": targets}


def _sequence(targets: list[int], size: Size, rng: np.random.Generator) -> Sequence_:
    return {"input_ids": rng.integers(4, size.vocabulary, len(targets)).tolist(), "targets": targets}


def llama(size: Size, *, tied: bool = True) -> Any:
    """Configuration of a Llama of this size."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


def write_model(size: Size, folder: Path) -> int:
    """Write a random Llama and a tokenizer; returns the number of parameters."""
    import torch
    from transformers import LlamaForCausalLM

    from synde_pipeline.base_model import quiet_transformers
    from synde_pipeline.training.pretrain import train_tokenizer

    quiet_transformers()
    torch.manual_seed(0)
    model = LlamaForCausalLM(llama(size))
    model.save_pretrained(folder)
    train_tokenizer(["TRL wants a tokenizer, though all is tokenised"] * 3, 300).save_pretrained(folder)
    return model.num_parameters()


def write_data(found: Sequence[Sequence_], path: Path) -> Path:
    """Write the sequences where contestants read them."""
    path.write_text(json.dumps(list(found)), "utf-8")
    return path


def facts_of(found: Sequence[Sequence_]) -> dict[str, Any]:
    """How much there is to do."""
    lengths = [len(item["input_ids"]) for item in found]
    n_targets = sum(sum(item["targets"][1:]) for item in found)
    return {
        "sequences": len(found),
        "tokens": sum(lengths),
        "longest": max(lengths),
        "targets": n_targets,
        "target_share": round(n_targets / sum(lengths), 3),
        "padding": round(max(lengths) * len(lengths) / sum(lengths), 2),
    }


def _ours(name: str, words: dict[str, Any], *, job: str = "ours", versus: str | None = "ours") -> Contestant:
    return Contestant(name, Path(train_ours.__file__), job, words, versus=versus)


def _peer(name: str, words: dict[str, Any], *, job: str) -> Contestant:
    return Contestant(name, Path(train_peers.__file__), job, words, is_peer=True)


def contestants_of_train(model: Path, data: Path) -> list[Contestant]:
    """Everybody on the same sequences."""
    words = TRAINING | {"model": str(model), "data": str(data)}
    return [
        _ours("ours", words, versus=None),
        _ours("ours_bf16", words | {"weights_dtype": "bfloat16"}),
        _ours("gemm_limit", words, job="gemm_limit"),
        _peer("trl_default", words, job="trl"),
        _peer("trl_fp32", words | {"trl": {"bf16": False, "gradient_checkpointing": False}}, job="trl"),
        _peer("trl_packing", words | {"trl": {"packing": True, "packing_strategy": "bfd"}}, job="trl"),
        _peer("hf_trainer", words, job="hf_trainer"),
        _peer("torch_peft", words, job="torch_peft"),
    ]


def contestants_of_prefix(model: Path, shared_data: Path, steps_data: Path) -> list[Contestant]:
    """One sequence for each trajectory, against one for each step."""
    words = TRAINING | {"model": str(model)}
    steps = words | {"data": str(steps_data)}
    return [
        _ours("ours", words | {"data": str(shared_data)}, versus=None),
        _ours("ours_per_step", steps),
        _peer("trl_per_step", steps, job="trl"),
    ]

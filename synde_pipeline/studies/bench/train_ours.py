"""Our side of `synde bench train`: the trainer as `synde run` calls it, and the limit that no trainer can pass."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]


def ours(words: Words) -> Prepared:
    """One adapter, every optimiser step over all sequences."""
    from transformers import AutoModelForCausalLM

    from synde_pipeline.settings import TrainingConfig
    from synde_pipeline.training.train import train

    rows = [
        {
            "input_ids": item["input_ids"],
            "weights": [float(is_target) for is_target in item["targets"]],
            "avoid": [False] * len(item["targets"]),
        }
        for item in json.loads(Path(words["data"]).read_text("utf-8"))
    ]
    config = TrainingConfig(
        rank=words["rank"],
        alpha=words["alpha"],
        learning_rate=words["learning_rate"],
        batch_size=len(rows),
        max_steps=words["steps"],
        weights_dtype=words.get("weights_dtype", "float32"),
    )
    model = AutoModelForCausalLM.from_pretrained(words["model"], dtype=config.weights_dtype)

    def run() -> dict[str, Any]:
        return {"loss": train(model, [rows], config).curves[0][0]}

    return run, lambda: None


def gemm_limit(words: Words) -> Prepared:
    """Only the matrix products with the frozen weights, forward and back through the activations, on useful tokens.

    Every linear layer and the head once; no attention, no norm, no loss. Nothing that runs each token through the whole
    model in float32 can be faster; leaving tokens out (head and last layer on targets alone) can.
    """
    import torch
    from transformers import AutoModelForCausalLM

    n_tokens = sum(len(item["input_ids"]) for item in json.loads(Path(words["data"]).read_text("utf-8")))
    model = AutoModelForCausalLM.from_pretrained(words["model"])
    weights = [module.weight.detach() for module in model.modules() if isinstance(module, torch.nn.Linear)]
    inputs = {weight.shape[1]: torch.randn(n_tokens, weight.shape[1]) for weight in weights}
    outputs = {weight.shape[0]: torch.empty(n_tokens, weight.shape[0]) for weight in weights}
    gradients = {width: torch.empty(n_tokens, width) for width in inputs}

    def run() -> dict[str, Any]:
        for weight in weights * words["steps"]:
            width, height = weight.shape[1], weight.shape[0]
            torch.mm(inputs[width], weight.T, out=outputs[height])
            torch.mm(outputs[height], weight, out=gradients[width])
        return {}

    return run, lambda: None

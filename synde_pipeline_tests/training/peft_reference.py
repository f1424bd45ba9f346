"""The reference that our trainer is compared with: PEFT's own adapter, one sequence at a time, plain autograd."""

import torch
from peft import LoraConfig, get_peft_model

from synde_pipeline.base_model import lora_targets
from synde_pipeline.settings import TrainingConfig


def with_peft(model, config: TrainingConfig, adapter=None):
    """A model with PEFT's LoRA; its matrices are set to those of an adapter of ours (AdapterWeights)."""
    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=lora_targets(model, o_proj=config.o_proj), bias="none"
    )
    found = get_peft_model(model, lora).eval()
    if adapter is not None:
        modules = dict(found.base_model.model.named_modules())
        with torch.no_grad():
            for name, (a, b) in adapter.matrices.items():
                modules[name].lora_A["default"].weight.copy_(a)
                modules[name].lora_B["default"].weight.copy_(b)
    return found


def loss_by_hand(model, rows):
    """Summed loss over the summed weight: cross-entropy, or -log(1 - p) on what is to be avoided."""
    total = sum(sum(row["weights"][1:]) for row in rows)
    loss = 0.0
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        log_p = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        for i in range(1, ids.shape[1]):
            one = log_p[i - 1, ids[0, i]]
            loss = loss + row["weights"][i] * (-torch.log1p(-one.exp()) if row["avoid"][i] else -one)
    return loss / total


def gradients(peft_model, rows) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module name -> gradients of (A, B)."""
    loss_by_hand(peft_model, rows).backward()
    return {
        name: (module.lora_A["default"].weight.grad, module.lora_B["default"].weight.grad)
        for name, module in peft_model.base_model.model.named_modules()
        if hasattr(module, "lora_A")
    }

"""The peers of `synde bench train`: TRL's SFTTrainer, Hugging Face's Trainer, plain torch with PEFT.

Runs in the peers' environment, see `worker`: imports nothing of SynDE. Every optimiser step goes over all
sequences of the data file. TRL and Trainer get them as one batch, padded (the paper's batch is 32), as shipped but for
what the harness needs: no saving, no reporting. `hf_trainer` is the paper's appendix B.3 with what it takes to run on
this model: a causal-LM class, Llama's module names, a padding collator; and no dropout.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULES = ["gate_proj", "up_proj", "down_proj"]
IGNORED = -100
"""Label of a token that is not learned."""
MICRO_TOKENS = 1024
"""Padded tokens of one micro-batch of `torch_peft`."""

Words = dict[str, Any]
Prepared = tuple[Callable[[], dict[str, Any]], Callable[[], None]]


def trl(words: Words) -> Prepared:
    """SFTTrainer on tokenised sequences with labels, `words["trl"]` on top of its defaults."""
    from datasets import Dataset  # type: ignore - of the peers' environment
    from trl import SFTConfig, SFTTrainer  # type: ignore - of the peers' environment

    examples = _examples(words)
    trainer = SFTTrainer(
        model=words["model"],
        args=SFTConfig(
            **_arguments(words, len(examples)),
            max_length=max(1024, *(len(example["input_ids"]) for example in examples)),
            **words.get("trl", {}),
        ),
        train_dataset=Dataset.from_list(examples),
        peft_config=_lora(words),
    )
    return _trainer_rounds(trainer)


def hf_trainer(words: Words) -> Prepared:
    """Appendix B.3: transformers.Trainer on a PEFT model."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    examples = _examples(words)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(words["model"]), _lora(words))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**_arguments(words, len(examples))),
        train_dataset=examples,  # type: ignore[arg-type] - a list is all it needs
        data_collator=_padded,
    )
    return _trainer_rounds(trainer)


def torch_peft(words: Words) -> Prepared:
    """A careful hand-written loop: sorted by length, small micro-batches, head on all tokens."""
    import torch
    from peft import get_peft_model
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM

    examples = _examples(words)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(words["model"]), _lora(words))
    parameters = [p for p in model.parameters() if p.requires_grad]
    n_targets = sum(label != IGNORED for example in examples for label in example["labels"][1:])

    def run() -> dict[str, Any]:
        optimizer = torch.optim.AdamW(parameters, lr=words["learning_rate"], weight_decay=0.0)
        losses = [step(optimizer) for _ in range(words["steps"])]
        return {"loss": losses[0]}

    def step(optimizer: torch.optim.Optimizer) -> float:
        total = 0.0
        for part in _micro_batches(examples):
            batch = _padded(part)
            logits = model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]
            loss = cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum") / n_targets
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return run, lambda: _fresh(model)


def _examples(words: Words) -> list[dict[str, list[int]]]:
    sequences = json.loads(Path(words["data"]).read_text("utf-8"))
    return [
        {
            "input_ids": item["input_ids"],
            "labels": [
                token if learned else IGNORED for token, learned in zip(item["input_ids"], item["targets"], strict=True)
            ],
        }
        for item in sequences
    ]


def _lora(words: Words) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=words["rank"],
        lora_alpha=words["alpha"],
        lora_dropout=0.0,
        target_modules=MODULES,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _arguments(words: Words, batch_size: int) -> Words:
    """What both trainers are told."""
    return {
        "output_dir": tempfile.mkdtemp(prefix="synde-bench-trainer-"),
        "per_device_train_batch_size": batch_size,
        "max_steps": words["steps"],
        "learning_rate": words["learning_rate"],
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
    }


def _trainer_rounds(trainer: Any) -> Prepared:
    def tidy() -> None:
        _fresh(trainer.model)
        trainer.optimizer = trainer.lr_scheduler = None  # the next round makes new ones, as a new training would
        shutil.rmtree(trainer.args.output_dir, ignore_errors=True)

    def run() -> dict[str, Any]:
        trainer.train()
        return {"loss": trainer.state.log_history[0]["loss"]}

    return run, tidy


def _padded(examples: list[dict[str, list[int]]]) -> dict[str, Any]:
    """A batch padded on the right."""
    import torch

    width = max(len(example["input_ids"]) for example in examples)

    def column(name: str, filler: int) -> Any:
        return torch.tensor([example[name] + [filler] * (width - len(example[name])) for example in examples])

    mask = [[1] * len(e["input_ids"]) + [0] * (width - len(e["input_ids"])) for e in examples]
    return {
        "input_ids": column("input_ids", 0),
        "attention_mask": torch.tensor(mask),
        "labels": column("labels", IGNORED),
    }


def _micro_batches(examples: list[dict[str, list[int]]]) -> list[list[dict[str, list[int]]]]:
    parts: list[list[dict[str, list[int]]]] = []
    for example in sorted(examples, key=lambda item: len(item["input_ids"]), reverse=True):
        if not parts or len(parts[-1][0]["input_ids"]) * (len(parts[-1]) + 1) > MICRO_TOKENS:
            parts.append([])
        parts[-1].append(example)
    return parts


def _fresh(model: Any) -> None:
    """Put the adapter back to its start: B = 0, so that every round does the same and says the same loss."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
            parameter.grad = None

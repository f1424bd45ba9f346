"""A small base model built from logs: byte-level BPE tokenizer and a Llama, for users who bring no model.

It reads `train` tasks of the first days only. It is a laboratory animal: small enough to train in two CPU minutes,
real enough that adapters, merging and evaluation run the very code that a large model runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from synde_pipeline.base_model import ARTEFACT, folder_hash, one_thread, quiet_transformers
from synde_pipeline.errors import BaseModelError
from synde_pipeline.lineage import write_lineage
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import CONTROLS, PAD, PromptEncoder
from synde_pipeline.records import Trajectory, content_hash, split_of
from synde_pipeline.settings import PretrainConfig, PromptConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.examples import shows_memory


@dataclass(frozen=True)
class Corpus:
    """What the base may see: `train` trajectories of the first days, in canonical order."""

    trajectories: tuple[Trajectory, ...]
    days: tuple[date, ...]

    @property
    def hash(self) -> str:
        """Content hash of the trajectories."""
        return content_hash([item.content_hash for item in self.trajectories])


def first_days(trajectories: Sequence[Trajectory], fraction: float) -> Corpus:
    """The `train` trajectories of the first days: whole days, until the fraction of all of them is reached.

    Raises:
        BaseModelError: there is no `train` trajectory.
    """
    train = sorted(
        (item for item in trajectories if split_of(item.task_id) == "train" and item.steps),
        key=lambda item: (item.day, item.trace_uid),
    )
    if not train:
        raise BaseModelError(
            "no trajectory of a `train` task is in the raw logs", remedy="run `synde run LOGS`, or set SYNDE_BASE_MODEL"
        )
    last = train[max(0, round(fraction * len(train)) - 1)].day
    kept = tuple(item for item in train if item.day <= last)
    return Corpus(kept, tuple(sorted({item.day for item in kept})))


def build_base(
    warehouse: Warehouse, corpus: Corpus, memory: Memory, config: PretrainConfig, prompt: PromptConfig
) -> Header:
    """Train tokenizer and model on the corpus and pin them as the warehouse's base."""
    quiet_transformers()
    tokenizer = train_tokenizer(_texts(corpus), config.vocab_size)
    encoder = PromptEncoder(tokenizer, prompt)
    windows = _windows(corpus, memory, encoder)
    model, loss = train_model(windows, tokenizer, config)

    inputs = {"trajectories": corpus.hash, "config": content_hash(config.model_dump())}

    def write(folder: Path) -> None:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        write_lineage(folder, warehouse, inputs, {"config": config.model_dump()})

    def describe(folder: Path) -> Header:
        info = {"kind": "built", "name": "synde-small", "revision": None, "final_loss": round(loss, 4)}
        return Header(
            artefact=ARTEFACT,
            key="",
            content_hash=folder_hash(folder),
            inputs=inputs,
            counts={
                "trajectories": len(corpus.trajectories),
                "windows": len(windows),
                "tokens": sum(map(len, windows)),
                "parameters": sum(p.numel() for p in model.parameters()),
            },
            info={
                **info,
                "days": [str(day) for day in corpus.days],
                "trajectories": [item.trace_uid for item in corpus.trajectories],
                "task_ids": sorted({item.task_id for item in corpus.trajectories}),
            },
        )

    return warehouse.publish_folder(ARTEFACT, "", write, describe)


def _texts(corpus: Corpus) -> list[str]:
    texts = []
    for item in corpus.trajectories:
        texts.append(f"{item.domain}: {item.task}")
        for step in item.steps:
            texts += [text for text in (step.state, step.reasoning, step.tool, step.arguments) if text]
    return texts


def _windows(corpus: Corpus, memory: Memory, encoder: PromptEncoder) -> list[list[int]]:
    windows = []
    for item in corpus.trajectories:
        items = memory.recall_before(item) if shows_memory(item.trace_uid, dropout=0.5) else []
        windows += [window.ids for window in encoder.windows(item.domain, item.task, items, item.steps)]
    return windows


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Any:
    """Byte-level BPE: every byte is in the alphabet, so any UTF-8 text round-trips; returns a fast HF tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, *CONTROLS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=CONTROLS[-1],
        additional_special_tokens=list(CONTROLS),
        clean_up_tokenization_spaces=False,
    )


def train_model(windows: Sequence[list[int]], tokenizer: Any, config: PretrainConfig) -> tuple[Any, float]:
    """Train a small Llama on all tokens of the windows; returns the model and its mean loss over the last epoch (nats).

    One window a step, Muon on the matrices and AdamW on the rest, short warm-up and linear decay. One thread: matrices
    this small gain little from two, and sums do not depend on the number of cores.
    """
    with one_thread():
        return _train(windows, tokenizer, config)


def _train(windows: Sequence[list[int]], tokenizer: Any, config: PretrainConfig) -> tuple[Any, float]:
    import torch
    from torch.nn.functional import cross_entropy

    model = new_model(tokenizer, config)
    optimizers = muon_and_adamw(model, config, beta2=0.95, weight_decay=0.1)
    n_steps = min(config.max_steps, config.epochs * len(windows))
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda k: _ramp(k, n_steps)) for one in optimizers]
    generator = torch.Generator().manual_seed(config.seed)
    order: list[int] = []
    losses: list[float] = []
    model.train()
    for _ in tqdm(range(n_steps), desc="base model", unit="step", disable=None, leave=False):
        if not order:
            order = torch.randperm(len(windows), generator=generator).tolist()
        ids = torch.tensor([windows[order.pop()]])
        logits = model(input_ids=ids, use_cache=False).logits  # (1, tokens, vocabulary)
        loss = cross_entropy(logits[0, :-1], ids[0, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in (*optimizers, *schedules):
            part.step()
        model.zero_grad()
        losses.append(loss.item())
    tail = losses[-len(windows) :]
    return model.eval(), sum(tail) / len(tail)


def _ramp(step: int, n_steps: int) -> float:
    """Learning rate factor: up over the first twentieth, down over the last two fifths."""
    return min(1.0, (step + 1) / (0.05 * n_steps), (n_steps - step) / (0.4 * n_steps))


class LlamaRecipe(Protocol):
    """What a small Llama is made of and how fast it learns; `PretrainConfig` is one."""

    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def hidden(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def heads(self) -> int: ...  # noqa: D102
    @property
    def intermediate(self) -> int: ...  # noqa: D102
    @property
    def matrix_rate(self) -> float: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102


def new_model(tokenizer: Any, recipe: LlamaRecipe, **config: Any) -> Any:
    """A freshly initialised small Llama, seeded; embeddings are tied unless `config` says otherwise."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.hidden,
        "intermediate_size": recipe.intermediate,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads,
    }
    tokens = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    defaults = {"max_position_embeddings": 4096, "tie_word_embeddings": True}
    return LlamaForCausalLM(LlamaConfig(**sizes, **tokens, **{**defaults, **config}))


def muon_and_adamw(model: Any, recipe: LlamaRecipe, *, beta2: float, weight_decay: float) -> list[Any]:
    """Muon on the layers' matrices, with the weight decay; AdamW on embeddings, head and norms, without."""
    import torch

    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if "layers" in name and parameter.dim() == 2]
    others = [parameter for name, parameter in named if "layers" not in name or parameter.dim() != 2]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=weight_decay),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, beta2), weight_decay=0.0),
    ]

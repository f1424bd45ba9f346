"""How the embedded base model is made: a small Llama, trained from nothing on `corpus`, on one CPU core.

What decides whether it learns to look facts up by name is the order of the corpus (`mix_at`): short drills first, from
which the look-up circuit grows, then episodes full of hints about other places at the very stage of the task. The
gates that the result has to pass are in `gates`.
"""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from synde_pipeline.base_model import one_thread, quiet_transformers
from synde_pipeline.errors import InputError
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import content_hash
from synde_pipeline.settings import PromptConfig
from synde_pipeline.simulation.corpus import Corpus, Mix, Sequence_
from synde_pipeline.simulation.tokenizer import build_tokenizer
from synde_pipeline.storage import write_atomically
from synde_pipeline.training.pretrain import muon_and_adamw, new_model

CHECKPOINT = "checkpoint.pt"
"""File in the work folder that an interrupted training goes on from."""
FACTS = "facts.json"
"""File of a finished model that says how it was made; written last."""
BATCH = 32
BATCHES_PER_CHUNK = 8
"""Batches that are drawn and sorted by length together."""
_CHUNKS_PER_CHECKPOINT = 20
_LENGTH_STEP = 16
_TARGET_STEP = 256
"""Shapes are rounded up to these: oneDNN compiles a kernel for every new shape, which costs more than the padding."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out."""

    seed: int = 0
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 256
    theta: float = 1e5
    """Base of the rotary positions: large, so that look-ups by content do not depend on the distance."""
    embedding_std: float = 0.5
    """Of the input embeddings at the start. Small tied ones never learned to look anything up by name: the softmax
    pushes the rows of all tokens that are no targets the same way, until nothing tells them apart."""
    chunks: int = 700
    """Length of the training: 256 sequences each."""
    matrix_rate: float = 0.005
    """Muon's learning rate on the matrices."""
    learning_rate: float = 1e-3
    """AdamW's on embeddings, head and norms."""
    warm_up: int = 50
    """Steps until the learning rates are reached."""
    decay: float = 0.3
    """Share of the training, at its end, over which the learning rates fall to nothing."""


SMOKE = Recipe(chunks=70, decay=0.5)
"""Two minutes: enough to see the loss fall, not to look anything up."""


def mix_at(progress: float) -> Mix:
    """The corpus at a point of the training, 0 to 1."""
    if progress < 0.15:
        lengths = (0.25, 0.25, 0.25, 0.25)
        return Mix(drills=0.9, hinted=0.85, distractors=3, random_words=0.5, lengths=lengths, facts=8)
    if progress < 0.8:
        lengths = (0.05, 0.1, 0.2, 0.65)
        return Mix(drills=0.4, hinted=0.85, distractors=7, random_words=0.4, lengths=lengths)
    return Mix(drills=0.2, hinted=0.85, distractors=7, random_words=0.1)


def rate_at(step: int, recipe: Recipe) -> float:
    """Factor on the learning rates: up at the start, constant, down to nothing at the end."""
    n_steps = recipe.chunks * BATCHES_PER_CHUNK
    return min(1.0, (step + 1) / recipe.warm_up, (n_steps - step) / (recipe.decay * n_steps))


@dataclass
class Progress:
    """What has been done so far."""

    chunk: int = 0
    tokens: int = 0
    """Without padding."""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    losses: tuple[float, ...] = ()
    """Mean loss of every chunk, in nats a target."""


class Trainer:
    """One training, in a work folder that holds its checkpoint.

    Args:
        recipe: what to train.
        work: folder for the checkpoint; a checkpoint of the same recipe is gone on from.

    Raises:
        InputError: the checkpoint in the folder is another recipe's.
    """

    def __init__(self, recipe: Recipe, work: Path) -> None:
        quiet_transformers()
        self.recipe = recipe
        self.tokenizer = build_tokenizer()
        self._encoder = PromptEncoder(self.tokenizer, PromptConfig())
        self._work = work
        self.model = _new_model(recipe, self.tokenizer)
        self._optimizers = _optimizers(self.model, recipe)
        self.progress = Progress()
        self._resume()

    def train(self) -> Progress:
        """Train to the end of the recipe, with a checkpoint now and then; returns what was done."""
        with one_thread():
            self._train()
        return self.progress

    def _train(self) -> None:
        self.model.train()
        total = self.recipe.chunks
        with tqdm(total=total, initial=self.progress.chunk, desc="base model", unit="chunk", disable=None) as bar:
            while self.progress.chunk < total:
                self._chunk()
                bar.update()
                bar.set_postfix(loss=f"{self.progress.losses[-1]:.3f}", tokens=f"{self.progress.tokens / 1e6:.1f}M")
                if self.progress.chunk % _CHUNKS_PER_CHECKPOINT == 0 or self.progress.chunk == total:
                    self._save()
        self.model.eval()

    def _chunk(self) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        at = self.progress
        corpus = Corpus(self._encoder.text, lambda name: self.tokenizer.convert_tokens_to_ids(name), 0)
        losses, n_tokens = [], 0
        for k, batch in enumerate(_batches(corpus, self.recipe, at.chunk)):
            losses.append(self._step(batch, at.chunk * BATCHES_PER_CHUNK + k))
            n_tokens += sum(len(sequence.ids) for sequence in batch)
        self.progress = Progress(
            at.chunk + 1,
            at.tokens + n_tokens,
            at.cpu_s + time.process_time() - cpu,
            at.wall_s + time.perf_counter() - wall,
            (*at.losses, sum(losses) / len(losses)),
        )

    def _step(self, batch: Sequence[Sequence_], step: int) -> float:
        import torch

        ids, mask, rows, wanted, weights = _tensors(batch, self.tokenizer.pad_token_id, len(self.tokenizer))
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden.flatten(0, 1)[rows])
        loss = ((wanted * -logits.float().log_softmax(-1)).sum(-1) * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        factor = rate_at(step, self.recipe)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            optimizer.step()
        self.model.zero_grad()
        return loss.item()

    # -- checkpoint ---------------------------------------------------------------------------------------------

    @property
    def _identity(self) -> str:
        return content_hash(asdict(self.recipe))

    def _save(self) -> None:
        import io

        import torch

        buffer = io.BytesIO()
        state = {
            "recipe": self._identity,
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }
        torch.save(state, buffer)
        write_atomically(self._work / CHECKPOINT, buffer.getvalue())

    def _resume(self) -> None:
        import torch

        path = self._work / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["recipe"] != self._identity:
            raise InputError(
                f"{path} is a checkpoint of another recipe", remedy="name another work folder, or remove the file"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, held in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        self.progress = Progress(**{**state["progress"], "losses": tuple(state["progress"]["losses"])})

    def write(self, folder: Path, card: str, facts: dict[str, Any]) -> None:
        """Write model (float32 safetensors), tokenizer, card and `facts.json` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)
        write_atomically(folder / "README.md", card)
        write_atomically(folder / FACTS, json.dumps(facts, indent=1))


def _new_model(recipe: Recipe, tokenizer: Any) -> Any:
    import torch

    rope = {"rope_type": "default", "rope_theta": recipe.theta}
    model = new_model(tokenizer, recipe, rope_parameters=rope, max_position_embeddings=1024, tie_word_embeddings=False)
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=recipe.embedding_std)
    torch.nn.init.zeros_(model.lm_head.weight)
    # Eager attention: the fused one in bfloat16 takes twice the time backwards on CPU.
    model.set_attn_implementation("eager")
    return model


def _optimizers(model: Any, recipe: Recipe) -> list[Any]:
    optimizers = muon_and_adamw(model, recipe, beta2=0.99, weight_decay=0.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _batches(corpus: Corpus, recipe: Recipe, chunk: int) -> Iterator[list[Sequence_]]:
    """Batches of one chunk, alike in length, in random order; the same whenever the chunk is drawn."""
    corpus.random = random.Random(f"{recipe.seed}:{chunk}")  # noqa: S311 - training data, no secret
    mix = mix_at(chunk / recipe.chunks)
    drawn = sorted((corpus.draw(mix) for _ in range(BATCH * BATCHES_PER_CHUNK)), key=lambda one: len(one.ids))
    batches = [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]
    corpus.random.shuffle(batches)
    yield from batches


def _tensors(batch: Sequence[Sequence_], pad: int, n_vocabulary: int) -> tuple[Any, Any, Any, Any, Any]:
    """Token ids and mask (batch, length); flat positions, wanted distributions and weights of the targets."""
    import torch

    length = _round_up(max(len(sequence.ids) for sequence in batch), _LENGTH_STEP)
    ids = torch.full((len(batch), length), pad)
    mask = torch.zeros((len(batch), length), dtype=torch.long)
    places, soft = [], []
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence.ids)] = 1
        for position, shares in sequence.targets:
            soft += [(len(places), token, share) for token, share in shares.items()]
            places.append(row * length + position - 1)
    n_targets = _round_up(len(places), _TARGET_STEP)
    rows = torch.zeros(n_targets, dtype=torch.long)
    rows[: len(places)] = torch.tensor(places)
    weights = torch.zeros(n_targets)
    weights[: len(places)] = 1.0
    wanted = torch.zeros((n_targets, n_vocabulary))
    at, token, share = (list(column) for column in zip(*soft, strict=True))
    wanted[at, token] = torch.tensor(share)
    return ids, mask, rows, wanted, weights


def _round_up(n: int, step: int) -> int:
    return -(-n // step) * step

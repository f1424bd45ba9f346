"""The base's own data, mixed into training so that an adapter does not forget what no log shows.

A base whose data nobody has is its own source: texts are drawn from it once, at temperature 1, and kept. Cross-entropy
on its own samples is, in expectation, KL(base || model) plus a constant: the gradient of distillation towards the base,
without a second model in memory and with no other loss than that of the logs. The same texts, drawn with another seed,
are probes (`probe`). A user who has better texts gives them (`--replay-data`); a simulation that has its base's corpus
passes it as another `BaseData`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from tqdm import tqdm

from synde_pipeline.base_model import Base
from synde_pipeline.errors import InputError
from synde_pipeline.prompting import TASK
from synde_pipeline.records import content_hash
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.shards import ShardRow

ARTEFACT = "base_replay"
N_TEXTS = 256
N_TOKENS = 128
"""Tokens of a text, and of a piece of a longer given one."""
_BATCH = 64
_SCHEMA = pa.schema([pa.field("input_ids", pa.list_(pa.int32()), nullable=False)])


class BaseData(Protocol):
    """Sequences of what the base was trained on, or the nearest thing to it."""

    @property
    def hash(self) -> str:
        """Content hash, for lineage."""
        ...

    def rows(self, n: int, seed: str) -> list[ShardRow]:
        """`n` training sequences, drawn by a seed."""
        ...


@dataclass(frozen=True)
class Texts:
    """A fixed stock of texts: each of their tokens but the first is a target."""

    ids: tuple[tuple[int, ...], ...]

    @property
    def hash(self) -> str:
        """Content hash of the token ids."""
        return content_hash(self.ids)

    def rows(self, n: int, seed: str) -> list[ShardRow]:
        """`n` texts in an order by hash of (seed, number); where there are fewer, they come again."""
        ordered = sorted(range(len(self.ids)), key=lambda k: hashlib.sha256(f"{seed}:{k}".encode()).hexdigest())
        drawn = [ordered[k % len(ordered)] for k in range(n)]
        return [base_row(f"text-{k}", self.ids[k], [0.0] + [1.0] * (len(self.ids[k]) - 1)) for k in drawn]


def base_row(name: str, ids: Sequence[int], weights: list[float]) -> ShardRow:
    """A training sequence that no trajectory stands behind."""
    return {
        "trace_uid": f"base:{name}",
        "task_id": "",
        "scope": "",
        "is_replay": True,
        "n_memory_items": 0,
        "memory_trajectories": [],
        "n_dropped_steps": 0,
        "n_elided": 0,
        "input_ids": list(ids),
        "weights": weights,
        "avoid": [False] * len(ids),
        "teacher_ids": [],
        "teacher_at": [],
        "n_untaught_steps": 0,
    }


def with_base(rows: Sequence[ShardRow], data: BaseData, share: float, seed: str) -> list[ShardRow]:
    """The rows, and behind them so many of the base's that these are `share` of all.

    Their weights are scaled so that they carry the same share of the loss: a text has many more targets than a log.

    Raises:
        ValueError: the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"a share of {share:g} of the base's data; expected 0 to below 1")
    n = round(len(rows) * share / (1 - share))
    added = data.rows(n, seed) if n else []
    if not added:
        return list(rows)
    factor = _mean_weight(rows) / _mean_weight(added)
    return [*rows, *({**row, "weights": [factor * weight for weight in row["weights"]]} for row in added)]


def _mean_weight(rows: Sequence[ShardRow]) -> float:
    return sum(sum(row["weights"][1:]) for row in rows) / len(rows)


# -- drawn from the base itself ---------------------------------------------------------------------------------------


def sampled_texts(
    warehouse: Warehouse, base: Base, *, n: int = N_TEXTS, n_tokens: int = N_TOKENS, seed: int = 0
) -> Texts:
    """Texts of the pinned base, sampled at the first call and kept in the warehouse."""
    inputs = {"base_model": base.hash, "settings": f"{n} texts of {n_tokens} tokens, seed {seed}"}
    key = base.hash[:16] + (f"-{seed}" if seed else "")
    header = warehouse.header(ARTEFACT, key)
    if header is None or header.inputs != inputs:
        texts = Texts(tuple(map(tuple, sample(base, n, n_tokens, seed))))
        counts = {"texts": n, "tokens": sum(map(len, texts.ids))}
        header = Header(artefact=ARTEFACT, key=key, content_hash=texts.hash, inputs=inputs, counts=counts)
        rows = [{"input_ids": list(ids)} for ids in texts.ids]
        warehouse.publish_table(header, pa.Table.from_pylist(rows, schema=_SCHEMA))
    stored = warehouse.read_table(ARTEFACT, key).column("input_ids").to_pylist()
    return Texts(tuple(map(tuple, stored)))


def sample(base: Base, n: int, n_tokens: int, seed: int) -> list[list[int]]:
    """Draw texts from a base at temperature 1, on a KV cache; each ends with the tokenizer's end, or at the limit."""
    first, last = _ends(base.tokenizer)
    texts: list[list[int]] = []
    with tqdm(total=n, desc="texts of the base", unit="text", disable=None, leave=False) as bar:
        for start in range(0, n, _BATCH):
            drawn = _lockstep(base.model, first, (min(_BATCH, n - start), n_tokens), seed + start)
            for ids in drawn:
                end = ids.index(last, 1) + 1 if last in ids[1:] else len(ids)
                texts.append(ids[: max(end, 2)])
            bar.update(len(drawn))
    return texts


def _ends(tokenizer: Any) -> tuple[int, int | None]:
    """The token that a text of this base starts with, and the one that ends it.

    A base of ours starts every sequence with the task's marker; its end of sequence ends a turn, not a text.
    """
    known = tokenizer.get_vocab()
    if TASK in known:
        return known[TASK], None
    end = tokenizer.eos_token_id
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end
    if first is None:
        raise InputError(
            "the base's tokenizer has no token that starts or ends a text", remedy="give texts with --replay-data FILE"
        )
    return first, end


def _lockstep(model: Any, first: int, shape: tuple[int, int], seed: int) -> list[list[int]]:
    """Sample rows of one length side by side; shape = (rows, tokens)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((shape[0], 1), first)
    cache = None
    with torch.inference_mode():
        while ids.shape[1] < shape[1]:
            output = model(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            chances = output.logits[:, -1].double().softmax(-1).cpu()
            ids = torch.cat([ids, torch.multinomial(chances, 1, generator=generator).to(ids)], 1)
    return ids.tolist()


# -- given ------------------------------------------------------------------------------------------------------------


def given_texts(path: Path, tokenizer: Any) -> Texts:
    """Texts of a user's file, in the base's tokens; a long one becomes several pieces.

    Raises:
        InputError: the file cannot be read, or holds no text.
    """
    pieces = []
    for text in read_texts(path):
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        pieces += [tuple(ids[start : start + N_TOKENS]) for start in range(0, len(ids), N_TOKENS)]
    texts = tuple(piece for piece in pieces if len(piece) > 1)
    if not texts:
        raise InputError(f"{path} holds no text of two tokens or more", remedy="give a file with texts")
    return Texts(texts)


def read_texts(path: Path) -> list[str]:
    """Texts of a `.jsonl` file (strings, or objects with `text`), or of a text file with blank lines between them.

    Raises:
        InputError: the file cannot be read, or a line holds no text.
    """
    try:
        whole = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"replay data {path} cannot be read ({type(error).__name__})",
            expected="a UTF-8 file, .jsonl or text",
            remedy="check the path",
        ) from error
    if path.suffix != ".jsonl":
        return [part.strip() for part in whole.split("\n\n") if part.strip()]
    return [_text_of(line, f"{path}:{k}") for k, line in enumerate(whole.splitlines(), 1) if line.strip()]


def _text_of(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise InputError(f"{where} is no text", expected='a JSON string, or an object with "text"')
    return text

"""The base's own data under a cycle's model: what training on logs has cost of what no log shows.

The texts are drawn with a seed of their own, so that training on such texts (`training.base_replay`) has not seen
these; a user's file is all there is, and may have been trained on.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from synde_pipeline.base_model import Base
from synde_pipeline.errors import InputError
from synde_pipeline.evaluation.stats import paired_difference, resamples, verdict
from synde_pipeline.models.bank import load_bank, served_rows
from synde_pipeline.models.merge import served_model
from synde_pipeline.models.registry import served_of
from synde_pipeline.settings import EvaluationConfig, Settings
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.base_replay import Texts, given_texts, sample
from synde_pipeline.training.collect import parts
from synde_pipeline.training.probe import LogitsAt, adapted, plain
from synde_pipeline.training.shards import ShardRow

N_TOKENS = 64
"""Tokens of a sampled text."""
SEED = "retention"


def own_texts(base: Base, settings: Settings) -> tuple[str, list[ShardRow]]:
    """Texts that stand for the base's own data, and where they come from; none where the base has no way to start one.

    Raises:
        InputError: the user's file cannot be read.
    """
    n = settings.evaluation.side_tasks
    if settings.replay_data is not None:
        return "the user's texts", given_texts(settings.replay_data, base.tokenizer).rows(n, SEED)
    try:
        texts = Texts(tuple(map(tuple, sample(base, n, N_TOKENS, seed=1)))) if n else Texts(())
    except InputError:
        return "nothing: the base's tokenizer has no token that starts a text", []
    return "texts sampled from the base", texts.rows(n, SEED) if n else []


def on_own_data(
    warehouse: Warehouse, base: Base, model: Header, texts: tuple[str, Sequence[ShardRow]], config: EvaluationConfig
) -> dict[str, Any] | None:
    """Nats per token of the base and of a cycle's model on the base's own data, paired by text; None without texts.

    In a bank no adapter is routed to such texts; each of the cycle's own is switched on by force, and the mean is told.

    Args:
        warehouse: where the model lies.
        base: loaded, without adapters on it.
        model: header of `merged_models[cycle]`.
        texts: from `own_texts`, or others.
        config: of the bootstrap.
    """
    source, rows = texts
    if len(rows) < 2:
        return None
    pad_id = base.tokenizer.pad_token_id or 0
    before, n_tokens = nats(plain(base.model), rows, pad_id)
    after = np.mean(_model_nats(warehouse, base, model, rows), axis=0)
    found = paired_difference((after, n_tokens), (before, n_tokens), resamples(len(rows), config), config.confidence)
    return {
        "source": source,
        "n_texts": len(rows),
        "base": float(before.sum() / n_tokens.sum()),
        "model": float(after.sum() / n_tokens.sum()),
        "difference": {**asdict(found), "verdict": verdict(found, lower_is_better=True)},
    }


def _model_nats(warehouse: Warehouse, base: Base, model: Header, rows: Sequence[ShardRow]) -> list[Any]:
    pad_id, served = base.tokenizer.pad_token_id or 0, served_of(model)
    if served.kind != "bank":
        return [nats(plain(served_model(warehouse, served)), rows, pad_id)[0]]
    own = [row for row in served_rows(warehouse, served, base.hash) if row.cycle == model.key]
    bank = load_bank(warehouse, base.model, own).adapters
    try:
        return [nats(adapted(base.model, bank, k), rows, pad_id)[0] for k in range(bank.n_adapters)]
    finally:
        bank.remove()


def nats(model: LogitsAt, rows: Sequence[ShardRow], pad_id: int) -> tuple[Any, Any]:
    """Negative log likelihood of the rows' targets: nats and tokens of each row, both of shape (rows,)."""
    import torch

    sums: list[float] = []
    counts: list[int] = []
    for part in parts(rows, pad_id):
        with torch.inference_mode():
            log_p = model(part.ids, part.predicts).log_softmax(-1).double()  # (targets, vocabulary)
        targets = part.ids[:, 1:][part.predicts[:, :-1]]  # a prediction is of the next token
        taken = -log_p.gather(-1, targets[:, None])[:, 0]
        found = part.predicts.sum(1).tolist()
        sums += [float(values.sum()) for values in taken.split(found)]
        counts += found
    return np.array(sums), np.array(counts, np.float64)

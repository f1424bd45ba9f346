"""Exactness of the implicit update in every supported family: tiny models, random weights, real parameters patched."""

from collections.abc import Mapping
from typing import Any

import torch

from synde_pipeline.models.implicit import Query, Update, blocks_of, implicit_update, implicit_updates, patched
from synde_pipeline.studies.mechanism.measure import missing, second_singular_value

VOCABULARY, N_CONTEXT = 97, 40


_SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_HEADS = {**_GROUPED, "head_dim": 8}
_TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", _GROUPED),
    "Qwen 2": ("qwen2", _GROUPED),
    "Qwen 3": ("qwen3", _HEADS),
    "Mistral": ("mistral", {**_GROUPED, "sliding_window": 16}),
    "GPT-2": ("gpt2", {"n_embd": 32, "n_layer": 4, "n_head": 4}),
    "GPT-NeoX, sequential": ("gpt_neox", {**_SIZES, "use_parallel_residual": False}),
    "GPT-NeoX, parallel": ("gpt_neox", {**_SIZES, "use_parallel_residual": True}),
    "Gemma": ("gemma", _HEADS),
    "Gemma 2": ("gemma2", {**_HEADS, "sliding_window": 16}),
    "Gemma 3": ("gemma3_text", {**_HEADS, "sliding_window": 16}),
}
NAMES = tuple(_TYPES)


def random_model(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A causal LM of four layers of a family, with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    kind, sizes = _TYPES[name]
    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    # Standard deviation .25 instead of .02: at random weights of the usual size a context changes next to nothing.
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, initializer_range=0.25, **sizes, **tokens)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.to(dtype).eval().requires_grad_(False)


def family_exactness(name: str, seed: int) -> dict[str, float]:
    """What the update of one query does to the logits, beside its controls; and which matrices it needs.

    Returns:
        `error`, `unpatched`: largest deviation of a logit from the one with the context, with the update and without;
        `wrong_query`, `first_only`, `down_only`: share of the context's effect that is missing, for another query, or
        with a part of the update; `second_singular_value`; `cosine`: between updates of 16 queries, mean over matrices.
    """
    model, chance = random_model(name, seed), torch.Generator().manual_seed(seed)
    context = torch.randint(VOCABULARY, (N_CONTEXT,), generator=chance)
    queries = torch.randperm(VOCABULARY, generator=chance)[:16]
    update = implicit_update(model, context, queries[:1])
    batch = torch.cat([context.expand(len(queries), -1), queries[:, None]], 1)
    both = Query(model, batch, queries[:, None])
    wanted, without = both.in_context(), both.alone()
    firsts = {f"{name}.weight" for block in blocks_of(model) for name in block.first}
    parts: Mapping[str, Update] = {
        "all": update,
        "first": {name: value for name, value in update.items() if name in firsts},
        "down": {name: value for name, value in update.items() if name not in firsts},
    }
    found = {}
    for part, change in parts.items():
        with patched(model, change):
            found[part] = both.alone()
    off = ~torch.eye(len(queries)).bool()
    cosines = [one.cosines()[off] for one in implicit_updates(both).values() if float(one.norms().min()) > 1e-6]
    return {
        "error": float((found["all"][0] - wanted[0]).abs().max()),
        "unpatched": float((without[0] - wanted[0]).abs().max()),
        "wrong_query": missing(found["all"][1], wanted[1], without[1]),
        "first_only": missing(found["first"][0], wanted[0], without[0]),
        "down_only": missing(found["down"][0], wanted[0], without[0]),
        "second_singular_value": second_singular_value(update),
        "cosine": float(torch.cat(cosines).mean()),
    }

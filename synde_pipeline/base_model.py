"""The base model: loading it, pinning it to a warehouse by content, and finding the MLP matrices in its module graph.

Building a small base from logs is in `training.pretrain`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from synde_pipeline.errors import BaseModelError
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Header, Warehouse, read_json, write_atomically

ARTEFACT = "base_model"

_TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "chat_template*")
_HASHED = ("config.json", "generation_config.json", *_TOKENIZER)
_MLP_NAMES = {
    *("gate_proj", "up_proj", "gate_up_proj", "down_proj", "c_fc", "fc1", "fc2", "fc_in", "fc_out"),
    *("dense_h_to_4h", "dense_4h_to_h"),
}
_ATTENTION_OUTPUTS = {"o_proj", "out_proj", "dense", "c_proj"}


@dataclass(frozen=True)
class Base:
    """A loaded base model: float32 weights, evaluation mode, and the identity that adapters are bound to."""

    model: Any
    tokenizer: Any
    header: Header

    @property
    def hash(self) -> str:
        """Content hash of weights, config and tokenizer."""
        return self.header.content_hash


def folder_hash(folder: Path) -> str:
    """Content hash of a model folder: its safetensors, config and tokenizer files, by name.

    Raises:
        BaseModelError: the folder holds no safetensors (pickled weights are never read).
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").exists():
        raise BaseModelError(
            f"{folder} holds no Hugging Face model",
            expected="config.json and *.safetensors",
            remedy="check SYNDE_BASE_MODEL",
        )
    digest = hashlib.sha256()
    for path in sorted({*weights, *(path for pattern in _HASHED for path in folder.glob(pattern))}):
        digest.update(path.name.encode("utf-8"))
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def tokenizer_hash(folder: Path) -> str:
    """Content hash of the tokenizer's files alone."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _TOKENIZER for path in folder.glob(pattern)}):
        digest.update(path.name.encode("utf-8"))
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pin_given(warehouse: Warehouse, settings: Settings) -> Header | None:
    """Pin the base named by `SYNDE_BASE_MODEL`; None when none is named.

    Raises:
        BaseModelError: it cannot be found, or the warehouse is pinned to another base.
    """
    pinned = warehouse.header(ARTEFACT, "")
    name = settings.base_model
    if name is None:
        if pinned is not None and pinned.info["kind"] == "given":
            raise BaseModelError(
                f"this warehouse is pinned to the base {pinned.info['name']}",
                remedy=f"set SYNDE_BASE_MODEL={pinned.info['name']}, or use another SYNDE_HOME",
            )
        return pinned
    if pinned is not None and (pinned.info["name"], pinned.info["revision"]) == (name, settings.base_revision):
        return pinned
    folder = resolve(name, settings.base_revision)
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    _check_window(name, config, settings.prompt.window)
    info = {"kind": "given", "name": name, "revision": settings.base_revision, "folder": str(folder.resolve())}
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    header = Header(artefact=ARTEFACT, key="", content_hash=folder_hash(folder), info={**info, "dtype": dtype})
    if pinned is not None and pinned.content_hash != header.content_hash:
        raise BaseModelError(
            f"base {name} is {header.content_hash[:12]}",
            expected=f"{pinned.content_hash[:12]} ({pinned.info['name']}), which this warehouse is pinned to",
            remedy="use another SYNDE_HOME: adapters of one base mean nothing on another",
        )
    write_atomically(warehouse.path(ARTEFACT) / "current.json", header.model_dump_json(indent=1))
    return header


def _check_window(name: str, config: dict[str, Any], window: int) -> None:
    longest = config.get("max_position_embeddings") or config.get("n_positions")
    if longest and longest < window:
        raise BaseModelError(
            f"base model {name} reads at most {longest} tokens",
            expected=f"{window}",
            remedy=f"set SYNDE_WINDOW={longest}",
        )


def resolve(name: str, revision: str | None) -> Path:
    """Local folder of a Hugging Face id or path; an id is fetched, or found in the local cache when offline.

    Raises:
        BaseModelError: there is no such folder or id.
    """
    if Path(name).is_dir():
        return Path(name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BaseModelError(f"base model path {name} does not exist", remedy="check SYNDE_BASE_MODEL")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise BaseModelError(
            f"base model {name!r} is neither a folder nor a model that can be fetched",
            expected="a path, or a Hugging Face id in the local cache or reachable",
            remedy=f"check SYNDE_BASE_MODEL ({type(error).__name__})",
        ) from error
    return Path(found)


def base_folder(warehouse: Warehouse, header: Header) -> Path:
    """Folder of the pinned base's files."""
    return Path(header.info["folder"]) if header.info["kind"] == "given" else warehouse.folder(ARTEFACT, "")


def pinned(warehouse: Warehouse) -> Header:
    """Header of the base that the warehouse is pinned to.

    Raises:
        BaseModelError: nothing is pinned yet.
    """
    header = warehouse.header(ARTEFACT, "")
    if header is None:
        raise BaseModelError("no base model is pinned", remedy="run `synde base`, or set SYNDE_BASE_MODEL")
    return header


def load(warehouse: Warehouse) -> Base:
    """Load the base that the warehouse is pinned to.

    Raises:
        BaseModelError: nothing is pinned yet, or the files are not the pinned ones any more.
    """
    return load_folder(pinned_folder(warehouse), pinned(warehouse))


def pinned_folder(warehouse: Warehouse) -> Path:
    """Folder of the pinned base's files, compared with the hash that they were pinned by.

    Raises:
        BaseModelError: nothing is pinned yet, or the files are not the pinned ones any more.
    """
    header = pinned(warehouse)
    folder = base_folder(warehouse, header)
    _verify(folder, header.content_hash, _fingerprint(folder))
    return folder


def load_folder(folder: Path, header: Header) -> Base:
    """Load model and tokenizer of a folder: float32, no remote code, safetensors only."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    return Base(model.eval(), load_tokenizer(folder), header)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder alone."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)


def _fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    if not folder.is_dir():
        return ()
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=8)
def _verify(folder: Path, expected: str, fingerprint: tuple[tuple[str, int, int], ...]) -> None:
    """Hash a model folder once a process, again only when a file changed."""
    if not fingerprint:
        raise BaseModelError(
            f"the pinned base's folder {folder} is gone", remedy="bring it back, or use another SYNDE_HOME"
        )
    found = folder_hash(folder)
    if found != expected:
        raise BaseModelError(
            f"the base in {folder} is {found[:12]}",
            expected=f"{expected[:12]}, which this warehouse is pinned to",
            remedy="bring the pinned files back, or use another SYNDE_HOME",
        )


def mlp_targets(model: Any) -> list[str]:
    """Full names of the MLP matrices of a causal LM, from its own module graph (Llama, GPT-2, NeoX, OPT, ... families).

    Raises:
        BaseModelError: none of the known names is there.
    """
    names = mlp_names(dict(model.named_modules()))
    if not names:
        raise BaseModelError(
            f"{type(model).__name__} has no MLP matrix of a known name", expected=", ".join(sorted(_MLP_NAMES))
        )
    return names


def lora_targets(model: Any, *, o_proj: bool) -> list[str]:
    """The matrices that adapters are trained on, in the model's order: MLP, and the attention's output if wanted.

    Raises:
        BaseModelError: none of the known names is there.
    """
    wanted = {*mlp_targets(model), *(attention_outputs(dict(model.named_modules())) if o_proj else ())}
    return [name for name, _ in model.named_modules() if name in wanted]


def mlp_names(modules: Mapping[str, Any]) -> list[str]:
    """Those of a model's modules that are MLP matrices."""
    return [
        name
        for name, module in modules.items()
        if _is_matrix(module) and (_leaf(name) in _MLP_NAMES or (_leaf(name) == "c_proj" and ".mlp." in name))
    ]


def attention_outputs(modules: Mapping[str, Any]) -> list[str]:
    """Those of a model's modules that are an attention's output matrix."""
    return [
        name
        for name, module in modules.items()
        if _is_matrix(module) and _leaf(name) in _ATTENTION_OUTPUTS and "att" in name.split(".")[-2]
    ]


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _is_matrix(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.dim() == 2


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread inside: for matrices so small that a second one only spins, and for equal sums."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def quiet_transformers() -> None:
    """Keep the library's progress bars for reading and writing files off the terminal: ours say what takes time."""
    from transformers.utils import logging

    logging.disable_progress_bar()

"""A composition written as a model, file to file: the pinned base's safetensors with every adapter added (law 7).

No model is loaded. Bytes of tensors that no adapter touches are copied by the kernel; the others go through a buffer
of a few rows, are summed in float32 and rounded once to the type they are stored in. So memory does not depend on the
size of the model, and the output is laid out as the base is, byte for byte.
"""

import errno
import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synde_pipeline.base_model import one_thread
from synde_pipeline.errors import LineageError
from synde_pipeline.storage import read_json
from synde_pipeline.training.lora import AdapterWeights

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

OnBytes = Callable[[int], None]
"""Told how many more bytes have been written."""

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BESIDE = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
"""Endings of config, tokenizer and generation config."""
_HEADS = {"lm_head", "embed_out", "output"}
_EMBEDDINGS = {"embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings"}
_BLOCK = 1 << 18
"""Numbers in a row block: its float32 copy (1 MB) stays in the processor's cache."""
_COPY = 1 << 20
_NO_KERNEL_COPY = {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}

Factors = tuple[Any, Any]
"""What is added to a stored matrix (rows, columns): left (rows, k) @ right (k, columns), float32."""


@dataclass(frozen=True)
class MergeFacts:
    """What a merge did."""

    n_files: int
    n_bytes: int
    """Of all weight files."""
    n_matrices: int
    """Matrices that an adapter touches."""
    n_touched_bytes: int


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies."""

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset in the file, header included."""
    end: int


def merge_files(
    base: Path,
    adapters: Sequence[tuple[AdapterWeights, float]],
    out: Path,
    *,
    on_bytes: OnBytes = lambda _: None,
) -> MergeFacts:
    """Write base + sum alpha * scale * B @ A, all adapters in one float32 pass, rounded once.

    Args:
        base: folder of the pinned base, never of a merged model: `model.safetensors`, or shards and their index.
        adapters: with their factor alpha.
        out: an existing, empty folder; whoever fills it publishes it (`Warehouse.publish_folder`).
        on_bytes: for a progress bar.

    Raises:
        LineageError: an adapter does not fit the base, touches a tied matrix or one of another type than float32,
            float16 and bfloat16, or is not finite. Nothing has been written then.
    """
    tensors = {tensor.name: tensor for file in weight_files(base) for tensor in _tensors(base / file)}
    tied = _Tied(tensors, _is_tied(base))
    changes: dict[str, Factors] = {}
    for module in sorted({module for adapter, _ in adapters for module in adapter.matrices}):
        tensor = tied.checked(module, _find(tensors, module))
        if tensor.name in changes:
            raise LineageError(f"two modules of the adapters, one of them {module}, mean the tensor {tensor.name}")
        changes[tensor.name] = _factors(module, tensor, adapters)
    with one_thread():
        for file in weight_files(base):
            mine = sorted((t for t in tensors.values() if t.file == file), key=lambda tensor: tensor.start)
            _write_file(base / file, out / file, [(t, changes[t.name]) for t in mine if t.name in changes], on_bytes)
    for path in sorted(base.iterdir()):
        if path.is_file() and path.suffix in _BESIDE and path.name != "lineage.json":
            shutil.copyfile(path, out / path.name)
    touched = [tensors[name] for name in changes]
    sizes = [(base / file).stat().st_size for file in weight_files(base)]
    return MergeFacts(len(sizes), sum(sizes), len(touched), sum(tensor.end - tensor.start for tensor in touched))


def weight_files(base: Path) -> list[str]:
    """Names of the files that hold a model's weights: those of the index, or the single one.

    Raises:
        LineageError: there are none.
    """
    if (base / INDEX).exists():
        return sorted(set(read_json(base / INDEX)["weight_map"].values()))
    if (base / SINGLE).exists():
        return [SINGLE]
    raise LineageError(f"{base} holds no weights", expected=f"{SINGLE}, or shards with {INDEX}")


# -- which tensor a module's matrix is ------------------------------------------------------------------------------


def _tensors(path: Path) -> list[_Tensor]:
    """The header of a safetensors file: 8 bytes of its length, little-endian, then JSON."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return [
        _Tensor(
            name, path.name, about["dtype"], tuple(about["shape"]), *(8 + length + k for k in about["data_offsets"])
        )
        for name, about in header.items()
    ]


def _find(tensors: dict[str, _Tensor], module: str) -> _Tensor | None:
    """The tensor of a module. Files may lack the first part of its name (`transformer.`), or put one in front."""
    name = f"{module}.weight"
    for wanted in (name, name.partition(".")[2]):
        if wanted in tensors:
            return tensors[wanted]
    longer = [tensor for found, tensor in tensors.items() if found.endswith(f".{name}")]
    return longer[0] if len(longer) == 1 else None


def _is_tied(base: Path) -> bool:
    config = read_json(base / "config.json") if (base / "config.json").exists() else {}
    return bool(config.get("tie_word_embeddings"))


@dataclass(frozen=True)
class _Tied:
    """Input and output embeddings may be one matrix: by the config's word, or because the file holds only one."""

    tensors: dict[str, _Tensor]
    by_config: bool

    def checked(self, module: str, found: _Tensor | None) -> _Tensor:
        """The tensor of a module.

        Raises:
            LineageError: it is tied, or not there.
        """
        leaf = module.rsplit(".", 1)[-1]
        has_head = any(name.rsplit(".", 2)[-2:-1] in [[head] for head in _HEADS] for name in self.tensors)
        if leaf in _HEADS | _EMBEDDINGS and (self.by_config or not has_head):
            raise LineageError(
                f"the adapter's module {module} is tied: input and output embedding are one matrix",
                expected="adapters on matrices of their own",
                remedy="train the adapter without this module",
            )
        if found is None:
            raise LineageError(
                f"the adapter's module {module} is not in the base's files",
                expected=f"a tensor {module}.weight",
                remedy="use the adapter's own base",
            )
        return found


def _factors(module: str, tensor: _Tensor, adapters: Iterable[tuple[AdapterWeights, float]]) -> Factors:
    """All that the adapters add to a matrix, in the orientation it is stored in.

    Raises:
        LineageError: shape, type or numbers do not allow it.
    """
    import torch

    if tensor.dtype not in _DTYPES:
        raise LineageError(f"{tensor.name} is stored as {tensor.dtype}", expected=" or ".join(_DTYPES))
    mine = [(adapter, alpha, *adapter.matrices[module]) for adapter, alpha in adapters if module in adapter.matrices]
    for adapter, alpha, a, b in mine:
        shape = (a.shape[1], b.shape[0]) if _lies_transposed(adapter, tensor, a, b) else (b.shape[0], a.shape[1])
        if tensor.shape != shape or a.shape[0] != b.shape[1]:
            raise LineageError(
                f"adapter shapes {tuple(a.shape)} and {tuple(b.shape)} of {module}",
                expected=f"A (rank, in) and B (out, rank) of {tensor.name} {tensor.shape}",
                remedy="use the adapter's own base",
            )
        if not (math.isfinite(alpha * adapter.scale) and torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise LineageError(f"an adapter's matrices of {module} are not finite", remedy="train it again")
    rights = torch.cat([a.float() for _, _, a, _ in mine])  # (k, in)
    lefts = torch.cat([(alpha * adapter.scale) * b.float() for adapter, alpha, _, b in mine], dim=1)  # (out, k)
    if _lies_transposed(mine[0][0], tensor, rights, lefts):
        return rights.T.contiguous(), lefts.T.contiguous()
    return lefts, rights


def _lies_transposed(adapter: AdapterWeights, tensor: _Tensor, a: Any, b: Any) -> bool:
    """Whether a matrix is stored as (in, out). A square one does not say by its shape: the adapter does."""
    n_out, n_in = b.shape[0], a.shape[1]
    return adapter.transposed if n_in == n_out else tensor.shape == (n_in, n_out)


# -- writing --------------------------------------------------------------------------------------------------------


def _write_file(source: Path, target: Path, changes: Sequence[tuple[_Tensor, Factors]], on_bytes: OnBytes) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        into, out_of = writing.fileno(), reading.fileno()
        position = 0
        for tensor, factors in changes:
            _copy_range(out_of, into, position, tensor.start, on_bytes)
            _add_range(out_of, into, tensor, factors, on_bytes)
            position = tensor.end
        _copy_range(out_of, into, position, source.stat().st_size, on_bytes)


def _copy_range(source: int, target: int, start: int, end: int, on_bytes: OnBytes) -> None:
    """Copy bytes [start, end) to the same place, inside the kernel where the file systems allow it."""
    in_kernel = hasattr(os, "copy_file_range")
    while start < end:
        if in_kernel:
            try:
                n = os.copy_file_range(source, target, min(end - start, 64 * _COPY), start, start)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
                in_kernel = False
                continue
        else:
            part = os.pread(source, min(end - start, _COPY), start)
            n = len(part)
            _write_all(target, memoryview(part), start)
        if n == 0:
            raise _cut_short(start)
        start += n
        on_bytes(n)


def _add_range(source: int, target: int, tensor: _Tensor, factors: Factors, on_bytes: OnBytes) -> None:
    """One matrix in blocks of rows: read, widen, add, round, write."""
    import torch

    dtype = getattr(torch, _DTYPES[tensor.dtype])
    left, right = factors
    n_rows, n_columns = tensor.shape
    step = max(1, _BLOCK // n_columns)
    raw = torch.empty(step * n_columns * dtype.itemsize, dtype=torch.uint8)
    view = memoryview(raw.numpy())  # pyright: ignore[reportArgumentType] - numpy's stubs hide the buffer of arrays
    sums = torch.empty(step * n_columns, dtype=torch.float32)
    position = tensor.start
    for first in range(0, n_rows, step):
        rows = min(step, n_rows - first)
        part = view[: rows * n_columns * dtype.itemsize]
        _read_all(source, part, position)
        stored = raw[: len(part)].view(dtype).view(rows, n_columns)
        wide = sums[: stored.numel()].view_as(stored).copy_(stored)
        own = left[first : first + rows]
        if right.shape[0] == 1:
            wide.addr_(own[:, 0], right[0])
        else:
            wide.addmm_(own, right)
        stored.copy_(wide)
        _write_all(target, part, position)
        position += len(part)
        on_bytes(len(part))


def _read_all(source: int, part: memoryview, position: int) -> None:
    done = 0
    while done < len(part):
        n = os.preadv(source, [part[done:]], position + done)
        if n == 0:
            raise _cut_short(position + done)
        done += n


def _write_all(target: int, part: memoryview, position: int) -> None:
    done = 0
    while done < len(part):
        done += os.pwrite(target, part[done:], position + done)


def _cut_short(position: int) -> LineageError:
    return LineageError(f"the base's file ends at byte {position}", remedy="bring the pinned files back")

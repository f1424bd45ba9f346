"""Streamed merging equals PEFT's and exact arithmetic, copies what it does not touch, and refuses before it writes."""

import filecmp
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from synde_pipeline.base_model import mlp_targets
from synde_pipeline.errors import LineageError
from synde_pipeline.models.stream import INDEX, SINGLE, merge_files, weight_files
from synde_pipeline.training.lora import AdapterWeights, read, write
from synde_pipeline_tests.models_for_tests import tiny

DTYPES = {"float32": torch.int32, "float16": torch.int16, "bfloat16": torch.int16}


def square_gpt2():
    """A GPT-2 whose MLP matrices are square: their shape does not say that they lie as (in, out)."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_inner=32, n_layer=2, n_head=2)).eval()


MODELS = {family: lambda family=family: tiny(family) for family in ("llama", "gpt2", "neox", "gemma2")}
MODELS["square gpt2"] = square_gpt2


def saved(folder: Path, family: str, dtype: str = "float32", **words) -> Path:
    MODELS[family]().to(getattr(torch, dtype)).save_pretrained(folder, **words)
    return folder


def adapter(model, seed: int, rank: int = 1, size: float = 0.05) -> AdapterWeights:
    """A random adapter on every MLP matrix."""
    generator = torch.Generator().manual_seed(seed)
    matrices, transposed = {}, False
    for name in mlp_targets(model):
        module = model.get_submodule(name)
        transposed = type(module).__name__ == "Conv1D"
        n_out, n_in = reversed(module.weight.shape) if transposed else module.weight.shape
        a = torch.randn(rank, n_in, generator=generator) * size
        matrices[name] = (a, torch.randn(n_out, rank, generator=generator) * size)
    return AdapterWeights(4.0, matrices, transposed)


def merged(base: Path, adapters, out: Path) -> dict[str, torch.Tensor]:
    out.mkdir()
    merge_files(base, adapters, out)
    return {name: tensor for file in weight_files(out) for name, tensor in load_file(out / file).items()}


def ulps(one: torch.Tensor, two: torch.Tensor) -> int:
    """Largest distance of two tensors in representable numbers; of floats as sign and magnitude."""
    kind = DTYPES[str(one.dtype).removeprefix("torch.")]

    def steps(tensor):
        bits = tensor.contiguous().view(kind).long()
        return torch.where(bits < 0, torch.iinfo(kind).min - bits, bits)

    return int((steps(one) - steps(two)).abs().max())


def exact(base: dict[str, torch.Tensor], adapters) -> dict[str, torch.Tensor]:
    """The sum in float64, rounded once."""
    wide = {name: tensor.double() for name, tensor in base.items()}
    for one, alpha in adapters:
        for module, (a, b) in one.matrices.items():
            delta = alpha * one.scale * (b.double() @ a.double())
            name = f"{module}.weight"
            wide[name] = wide[name] + (delta.T if one.transposed else delta)
    return {name: tensor.to(base[name].dtype) for name, tensor in wide.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", MODELS)
def test_a_merge_equals_pefts_and_the_exact_sum_to_one_step_of_the_stored_type(family, dtype, tmp_path):
    base = saved(tmp_path / "base", family, dtype)
    model = MODELS[family]()
    write(adapter(model, 1), tmp_path / "adapter", ("base", None), transposed="gpt2" in family)
    one = read(tmp_path / "adapter")
    files = merged(base, [(one, 1.0)], tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    theirs = PeftModel.from_pretrained(loaded, str(tmp_path / "adapter")).merge_and_unload().state_dict()
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=getattr(torch, dtype)).state_dict()
    wanted = exact(load_file(base / SINGLE), [(one, 1.0)])
    pairs = [(files[name], tensor) for name, tensor in wanted.items()] + [(ours[name], theirs[name]) for name in theirs]
    for found, expected in pairs:
        if dtype == "float32":
            # A sum that nearly cancels is not exact to a step of its own: the last bit of its parts decides.
            assert torch.allclose(found, expected, rtol=1e-6, atol=1e-7)
        else:
            assert ulps(found, expected) <= 1
            assert (found != expected).float().mean() < 1e-3
    assert any(not torch.equal(files[name], tensor) for name, tensor in load_file(base / SINGLE).items())
    assert set(ours) == set(theirs)


def test_shards_are_merged_like_the_single_file_and_touch_only_what_an_adapter_names(tmp_path):
    single, sharded = saved(tmp_path / "one", "llama"), saved(tmp_path / "many", "llama", max_shard_size="30KB")
    assert len(weight_files(sharded)) > 2
    adapters = [(adapter(tiny(), seed), alpha) for seed, alpha in ((1, 1.0), (2, 0.5))]
    one, many = merged(single, adapters, tmp_path / "out1"), merged(sharded, adapters, tmp_path / "out2")
    assert set(one) == set(many)
    assert all(torch.equal(tensor, many[name]) for name, tensor in one.items())
    plain = load_file(single / SINGLE)
    changed = {name for name, tensor in one.items() if not torch.equal(tensor, plain[name])}
    assert changed == {f"{name}.weight" for name in mlp_targets(tiny())}
    beside = ["config.json", "generation_config.json", INDEX]
    assert filecmp.cmpfiles(sharded, tmp_path / "out2", beside, shallow=False)[0] == beside
    assert weight_files(sharded) == weight_files(tmp_path / "out2")


def test_without_adapters_the_model_is_the_base_to_the_byte_and_with_them_always_the_same_bytes(tmp_path):
    base = saved(tmp_path / "base", "neox", "bfloat16")
    merged(base, [], tmp_path / "nothing")
    assert filecmp.cmp(base / SINGLE, tmp_path / "nothing" / SINGLE, shallow=False)
    adapters = [(adapter(tiny("neox"), seed), 1.0) for seed in range(3)]
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        facts = merge_files(base, adapters, tmp_path / name, on_bytes=written.append)
    assert filecmp.cmp(tmp_path / "a" / SINGLE, tmp_path / "b" / SINGLE, shallow=False)
    assert sum(written) == 2 * facts.n_bytes == 2 * (base / SINGLE).stat().st_size
    assert (facts.n_files, facts.n_matrices) == (1, 4)


def test_between_two_file_systems_the_bytes_are_the_same(tmp_path):
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")
    base = saved(tmp_path / "base", "llama", "float16")
    merged(base, [(adapter(tiny(), 1), 1.0)], tmp_path / "near")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as far:
        merge_files(base, [(adapter(tiny(), 1), 1.0)], Path(far))
        assert filecmp.cmp(tmp_path / "near" / SINGLE, Path(far) / SINGLE, shallow=False)


@pytest.mark.parametrize("where", ["file without the prefix", "file with one more"])
def test_modules_and_files_may_differ_in_the_first_part_of_their_names(where, tmp_path):
    base = saved(tmp_path / "base", "gpt2")
    tensors = load_file(base / SINGLE)
    rename = (lambda n: n.removeprefix("transformer.")) if "without" in where else (lambda n: f"language_model.{n}")
    save_file({rename(name): tensor for name, tensor in tensors.items()}, base / SINGLE)
    one = adapter(tiny("gpt2"), 1)
    found = merged(base, [(one, 1.0)], tmp_path / "out")
    for name, tensor in exact(tensors, [(one, 1.0)]).items():
        assert torch.allclose(found[rename(name)], tensor, atol=1e-6), name


# -- law 7 ------------------------------------------------------------------------------------------------------------

ledgers = st.lists(st.tuples(st.integers(0, 99), st.floats(-2, 2)), min_size=1, max_size=4)


@given(ledgers, st.randoms(use_true_random=False), st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_neither_order_nor_a_split_of_the_factors_changes_the_sum(ledger, random, share):
    model = tiny()
    adapters = [(adapter(model, seed), alpha) for seed, alpha in ledger]
    split = [(one, part * alpha) for one, alpha in adapters for part in (share, 1 - share)]
    random.shuffle(split)
    with tempfile.TemporaryDirectory() as folder:
        base = saved(Path(folder) / "base", "llama")
        one, two = merged(base, adapters, Path(folder) / "one"), merged(base, split, Path(folder) / "two")
        expected = exact(load_file(base / SINGLE), adapters)
    for name, tensor in expected.items():
        assert torch.allclose(one[name], tensor, atol=1e-5), name
        assert torch.allclose(two[name], tensor, atol=1e-5), name


def test_one_pass_keeps_what_a_chain_of_rounded_merges_loses(tmp_path):
    """Daily merges into a merged model, as the paper prints them, against the ledger that starts from the base."""
    base = saved(tmp_path / "base", "llama", "bfloat16")
    daily = [(adapter(tiny(), seed, size=0.002), 1.0) for seed in range(12)]
    chain = base
    for k, one in enumerate(daily):
        merged(chain, [one], tmp_path / f"day{k}")
        chain = tmp_path / f"day{k}"
    chained, ours, plain = load_file(chain / SINGLE), merged(base, daily, tmp_path / "out"), load_file(base / SINGLE)
    wide = {name: tensor.float() for name, tensor in plain.items()}
    wanted = exact(wide, daily)
    lost = {}
    for kind, found in (("chain", chained), ("pass", ours)):
        names = [f"{name}.weight" for name in mlp_targets(tiny())]
        off = sum((found[name].float() - wanted[name]).norm() ** 2 for name in names)
        lost[kind] = float((off / sum((wanted[name] - wide[name]).norm() ** 2 for name in names)) ** 0.5)
    assert lost["pass"] < 0.7 * lost["chain"], lost
    assert all(ulps(ours[name], tensor) <= 1 for name, tensor in exact(plain, daily).items())


# -- refused before anything is written -------------------------------------------------------------------------------


def on(module: str, n_out: int = 48, n_in: int = 32, value: float = 1.0) -> AdapterWeights:
    return AdapterWeights(1.0, {module: (torch.full((1, n_in), value), torch.ones(n_out, 1))})


GATE = "model.layers.0.mlp.gate_proj"
REFUSED = {
    "missing": ("llama", on("model.layers.7.mlp.gate_proj"), "layers.7.mlp.gate_proj is not in the base's files"),
    "shape": ("llama", on(GATE, 48, 31), r"shapes \(1, 31\) and \(48, 1\) of model.*\(48, 32\)"),
    "nan": ("llama", on(GATE, value=float("nan")), "not finite"),
    "tied head": ("gpt2", on("lm_head", 400, 32), "module lm_head is tied"),
    "tied embedding": ("gpt2", on("transformer.wte", 400, 32), "module transformer.wte is tied"),
}


@pytest.mark.parametrize(("family", "wrong", "match"), REFUSED.values(), ids=REFUSED)
def test_an_adapter_that_does_not_fit_is_refused_and_nothing_is_written(family, wrong, match, tmp_path):
    base = saved(tmp_path / "base", family)
    (tmp_path / "out").mkdir()
    with pytest.raises(LineageError, match=match):
        merge_files(base, [(adapter(tiny(family), 1), 1.0), (wrong, 1.0)], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_two_modules_of_one_tensor_an_odd_type_and_a_folder_without_weights_are_refused(tmp_path):
    base = saved(tmp_path / "base", "llama")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    for wrong, match in (
        (on(GATE.removeprefix("model.")), "mean the tensor model.layers.0"),
        (on("lm_head", 400, 32), "is tied"),  # the file holds a head, and loading will tie it all the same
    ):
        with pytest.raises(LineageError, match=match):
            merge_files(base, [(on(GATE), 1.0), (wrong, 1.0)], tmp_path)
    tensors = load_file(base / SINGLE)
    save_file({**tensors, f"{GATE}.weight": tensors[f"{GATE}.weight"].double()}, base / SINGLE)
    with pytest.raises(LineageError, match="stored as F64"):
        merge_files(base, [(on(GATE), 1.0)], tmp_path)
    with pytest.raises(LineageError, match="holds no weights"):
        merge_files(tmp_path, [], tmp_path)


# -- memory -----------------------------------------------------------------------------------------------------------

MEMORY = """
import sys
from pathlib import Path
import torch
from synde_pipeline.models.stream import merge_files
from synde_pipeline.training.lora import AdapterWeights

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

names = [f"model.layers.{k}.mlp.up_proj" for k in range(int(sys.argv[2]))]
adapter = AdapterWeights(1.0, {name: (torch.ones(1, 1024), torch.ones(4096, 1)) for name in names})
torch.ones(4, 4).addmm_(torch.ones(4, 2), torch.ones(2, 4)), torch.ones(4, 4).addr_(torch.ones(4), torch.ones(4))
Path("/proc/self/clear_refs").write_text("5")
before = peak()
merge_files(Path(sys.argv[1]), [(adapter, 1.0)] * 8, Path(sys.argv[1]) / "out")
print((peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_layers", [8, 64])
def test_resident_memory_stays_below_64_mb_whatever_the_models_size(n_layers, tmp_path):
    tensors = {f"model.layers.{k}.mlp.up_proj.weight": torch.zeros(4096, 1024, dtype=torch.bfloat16) for k in range(8)}
    files = {}
    for part in range(n_layers // 8):
        moved = {name.replace(f".{k}.", f".{part * 8 + k}."): t for k, (name, t) in enumerate(tensors.items())}
        save_file(moved, tmp_path / f"part-{part}.safetensors")
        files |= dict.fromkeys(moved, f"part-{part}.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": files}))
    (tmp_path / "out").mkdir()
    words = [sys.executable, "-c", MEMORY, str(tmp_path), str(n_layers)]
    assert int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) <= 64

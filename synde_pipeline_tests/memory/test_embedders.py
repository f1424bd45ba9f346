"""Embedders: a folder is read as its makers meant it, an endpoint as it answers, and vectors of two never meet."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from synde_pipeline.errors import EmbedderError, InputError, LineageError, LlmBudgetError, MissingAnswerError
from synde_pipeline.llm import Llm
from synde_pipeline.memory.embed import asking_through, get_embedder, pinned_name
from synde_pipeline.memory.encoders import Encoder
from synde_pipeline.memory.remote import RemoteEmbedder
from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.memory.store import read_ledger
from synde_pipeline.settings import LlmConfig, MemoryConfig
from synde_pipeline_tests.helpers import land, trajectory
from synde_pipeline_tests.memory.embedding_server import serving
from synde_pipeline_tests.memory.test_curate import TRAIN
from synde_pipeline_tests.memory.test_store import CONFIG, DAYS, history, materialise
from synde_pipeline_tests.models_for_tests import save_model, tiny, tokenizer

TEXTS = ["renew the loan", "pay", "", "please renew the loan of the card and pay the fine for the book that is late"]


def encoder_folder(folder: Path, pooling: str = "mean_tokens", **files: object) -> Path:
    """A tiny transformer in the layout of sentence-transformers."""
    save_model(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": k, "name": str(k), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for k, (path, kind) in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens", "max_tokens")}
    contents = {"modules.json": modules, "1_Pooling/config.json": modes, "sentence_bert_config.json": {}} | files
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def by_hand(texts: list[str], pooling: str, most: int | None = None) -> np.ndarray:
    """One text after the other, without padding."""
    import torch

    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer()(text, max_length=most, truncation=most is not None)["input_ids"]])
        with torch.inference_mode():
            hidden = tiny().model(input_ids=ids).last_hidden_state[0]
        vector = hidden[0] if pooling == "cls_token" else hidden.mean(0)
        rows.append((vector / vector.norm()).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_a_folder_is_pooled_as_it_says_whatever_the_batch(tmp_path, pooling):
    texts = [text for text in TEXTS if text]
    embedder = Encoder("st:x", encoder_folder(tmp_path / "model", pooling))
    expected = by_hand(texts, pooling)
    np.testing.assert_allclose(embedder.embed(texts), expected, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(texts[:1]), expected[:1], atol=1e-5)
    assert embedder.dim == expected.shape[1] != 384


def test_a_folder_says_how_long_a_text_may_be_and_what_goes_before_it(tmp_path):
    long = TEXTS[-1]
    short = encoder_folder(tmp_path / "short", **{"sentence_bert_config.json": {"max_seq_length": 4}})
    np.testing.assert_allclose(Encoder("x", short).embed([long]), by_hand([long], "mean_tokens", 4), atol=1e-5)
    said = {"prompts": {"q": "renew "}, "default_prompt_name": "q"}
    prompted = encoder_folder(
        tmp_path / "p",
        **{"config_sentence_transformers.json": said, "sentence_bert_config.json": {"do_lower_case": True}},
    )
    expected = by_hand(["renew the loan"], "mean_tokens")
    np.testing.assert_allclose(Encoder("x", prompted).embed(["THE loan"]), expected, atol=1e-5)


def test_what_a_folder_needs_and_is_not_supported_is_refused(tmp_path):
    dense = encoder_folder(tmp_path / "dense")
    modules = json.loads((dense / "modules.json").read_text("utf-8"))
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (dense / "modules.json").write_text(json.dumps(modules), "utf-8")
    with pytest.raises(EmbedderError, match="Dense"):
        get_embedder(f"st:{dense}")
    with pytest.raises(EmbedderError, match="pools by pooling_mode_max_tokens"):
        get_embedder(f"st:{encoder_folder(tmp_path / 'max', 'max_tokens')}")
    with pytest.raises(EmbedderError, match=r"no modules\.json"):
        get_embedder(f"st:{save_model(tmp_path / 'plain')}")
    pickled = encoder_folder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(EmbedderError, match="no safetensors"):
        pinned_name(f"st:{pickled}")
    with pytest.raises(EmbedderError, match="cannot be loaded"):
        Encoder("x", pickled)
    with pytest.raises(EmbedderError, match="no safetensors below"):
        pinned_name(f"st:{tmp_path / 'nowhere'}")


def test_a_pinned_name_changes_with_the_weights_and_is_checked_when_it_is_asked_for(tmp_path):
    folder = encoder_folder(tmp_path / "model")
    pinned = pinned_name(f"st:{folder}")
    assert get_embedder(pinned) is get_embedder(f"st:{folder}")
    weights = folder / "model.safetensors"
    shutil.copy(weights, tmp_path / "kept")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(LineageError, match="put the weights back"):
        get_embedder(pinned)
    shutil.copy(tmp_path / "kept", weights)
    assert pinned_name(f"st:{folder}") == pinned
    assert pinned_name("openai:text-embedding-3-small") == "openai:text-embedding-3-small"


def test_another_dimension_needs_every_day_again_and_then_tells_the_same_story(tmp_path, warehouse):
    other = MemoryConfig(embedder=f"st:{encoder_folder(tmp_path / 'model')}")
    land(warehouse, history())
    for day in DAYS[:2]:
        materialise(warehouse, day)
    hashed = Memory.load(warehouse, CONFIG).bank(DAYS[1])
    assert hashed.items
    materialise(warehouse, DAYS[0], other)
    for config in (CONFIG, other):
        with pytest.raises(LineageError, match="was embedded by"):
            Memory.load(warehouse, config)
    with pytest.raises(LineageError, match="several lengths"):
        read_ledger(warehouse)
    materialise(warehouse, DAYS[1], other)
    memory = Memory.load(warehouse, other)
    assert {vector.shape for vector in memory.vectors.values()} == {(get_embedder(other.embedder).dim,)}
    assert memory.recall("please renew", domain="library", as_of=DAYS[1])
    for day in DAYS[:2]:  # and back: the first table holds nothing that has gone meanwhile
        materialise(warehouse, day)
    assert Memory.load(warehouse, CONFIG).bank(DAYS[1]).bank_hash == hashed.bank_hash


def remote(url: str, attempts: int = 3) -> RemoteEmbedder:
    return RemoteEmbedder("words", LlmConfig(base_url=url, attempts=attempts, timeout_s=5))


def test_an_endpoint_is_asked_in_batches_with_the_key_and_tried_again(monkeypatch):
    monkeypatch.setenv("SYNDE_LLM_KEY", "the key")
    with serving() as server:
        server.troubles = [500, 429]
        embedder = remote(server.url)
        texts = [f"renew loan {word}" for word in "abcdefghij" * 7]
        vectors = embedder.embed(texts)
        assert vectors.shape == (70, 48) == (len(texts), embedder.dim)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(vectors[3], remote(server.url).embed([texts[3]])[0], atol=1e-6)
        assert [len(body["input"]) for _, body in server.asked] == [64, 64, 64, 6, 1]
        assert {key for key, _ in server.asked} == {"Bearer the key"}
        assert embedder.embed([]).shape == (0, 48)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (500, "answered 500"),
        (401, "answered 401"),
        ("<html>", "something else"),
        ({"data": []}, "something else"),
        ({"data": [{"index": 0, "embedding": [None, 1.0]}]}, "something else|vectors that are none"),
        ({"data": [{"index": 0, "embedding": []}]}, "vectors that are none"),
    ],
)
def test_an_endpoint_that_fails_is_an_error_without_its_words(trouble, said):
    with serving() as server:
        server.troubles = [trouble] * 2
        with pytest.raises(EmbedderError, match=said) as caught:
            remote(server.url, attempts=2).embed(["renew"])
        assert "secret" not in str(caught.value)


def test_an_endpoint_that_is_not_there_or_not_named_is_an_error():
    with pytest.raises(EmbedderError, match="could not be reached"):
        remote("http://127.0.0.1:9/v1", attempts=1).embed(["renew"])
    with pytest.raises(InputError, match="SYNDE_LLM_URL"):
        get_embedder("openai:words", LlmConfig())


def test_an_endpoint_that_changes_the_length_of_its_vectors_is_an_error():
    with serving() as server:
        embedder = remote(server.url)
        embedder.embed(["renew"])
        server.dim = 12
        with pytest.raises(EmbedderError, match=r"\[12, 48\]"):
            embedder.embed(["renew"])


def test_the_memory_of_an_endpoint_is_asked_with_the_endpoint(warehouse, monkeypatch):
    config = MemoryConfig(embedder="openai:words")
    land(warehouse, history())
    with serving() as server:
        monkeypatch.setenv("SYNDE_LLM_URL", server.url)
        for day in DAYS[:2]:
            materialise(warehouse, day, config)
        assert Memory.load(warehouse, config).recall("please renew", domain="library", as_of=DAYS[1])
        assert {body["model"] for _, body in server.asked} == {"words"}


# -- an endpoint costs: budget, cache, no calls ----------------------------------------------------------------------

REMOTE = MemoryConfig(embedder="openai:words")


def n_texts(server) -> int:
    return sum(len(body["input"]) for _, body in server.asked)


def through(warehouse, server, **llm) -> Llm:
    return Llm(warehouse, LlmConfig(base_url=server.url, pause_s=0.001, **llm))


def test_embedding_counts_against_the_budget_and_stops_before_it_is_exceeded(warehouse):
    with serving() as server:
        llm = through(warehouse, server, max_tokens=400, price_in=2.0, price_embedding=1.0)
        embedder = RemoteEmbedder("words", llm.config, llm.budget)
        embedder.embed(["renew loan"] * 20)
        assert (llm.usage.calls, llm.usage.tokens_in, llm.usage.cost) == (1, 200, 200 / 1e6)
        with pytest.raises(LlmBudgetError, match="budget of 400 tokens"):
            embedder.embed(["renew loan"] * 20)
        assert len(server.asked) == 1
        server.says_usage = False
        embedder.embed(["renew"])
        assert llm.usage.tokens_in == 200 + len("renew") + 4, "what a server does not say is counted as the most"
        server.troubles = [429, 500]
        embedder.embed(["renew"])
        assert llm.usage.calls == 2 + 3
        poor = through(warehouse, server, max_cost=1e-5, price_in=1.0)
        with pytest.raises(LlmBudgetError, match="cost"):
            RemoteEmbedder("words", poor.config, poor.budget).embed(["renew"] * 9)


def test_without_calls_a_text_that_is_not_kept_is_an_error_and_nothing_is_asked(warehouse):
    land(warehouse, history())
    with serving() as server:
        llm = through(warehouse, server)
        with asking_through(lambda: llm):
            materialise(warehouse, DAYS[0], REMOTE)
        asked = len(server.asked)
        offline = through(warehouse, server, is_offline=True)
        with asking_through(lambda: offline):
            before = warehouse.header("memory_deltas", str(DAYS[0]))
            materialise(warehouse, DAYS[0], REMOTE)
            assert warehouse.header("memory_deltas", str(DAYS[0])) == before
            land(warehouse, [trajectory("test:new", task=TRAIN[30], day=DAYS[1])], name="new")
            with pytest.raises(MissingAnswerError, match=r"openai:words was not asked yet .* switched off"):
                materialise(warehouse, DAYS[1], REMOTE)
            memory = Memory.load(warehouse, REMOTE)
            with pytest.raises(MissingAnswerError):
                memory.recall("a question nobody asked", domain="library", as_of=DAYS[0])
        assert len(server.asked) == asked


def test_a_day_made_again_or_one_that_failed_half_way_asks_for_new_texts_only(warehouse):
    land(warehouse, history())
    with serving() as server:
        llm = through(warehouse, server, attempts=1)
        with asking_through(lambda: llm):
            materialise(warehouse, DAYS[0], REMOTE)
            first, data = n_texts(server), warehouse.table_path("memory_deltas", str(DAYS[0])).read_bytes()
            materialise(warehouse, DAYS[0], REMOTE)
            assert n_texts(server) == first
            assert warehouse.table_path("memory_deltas", str(DAYS[0])).read_bytes() == data
            more = [trajectory(f"test:more-{k}", task=TRAIN[k % 50], day=DAYS[2], steps=()) for k in range(600)]
            more = [run.model_copy(update={"task": f"please do number {k}"}) for k, run in enumerate(more)]
            land(warehouse, more, name="more")
            server.troubles = [*[None] * 9, 400]
            with pytest.raises(EmbedderError, match="answered 400"):
                materialise(warehouse, DAYS[2], REMOTE)
            before = n_texts(server)
            materialise(warehouse, DAYS[2], REMOTE)
            assert n_texts(server) - before < 600 - 512 + 64, "the batches that came were kept"


def test_a_known_task_is_not_embedded_again_to_be_recalled_for(warehouse):
    land(warehouse, history())
    with serving() as server:
        llm = through(warehouse, server)
        with asking_through(lambda: llm):
            materialise(warehouse, DAYS[0], REMOTE)
            memory = Memory.load(warehouse, REMOTE.model_copy(update={"min_tasks": 1}))
            memory.bank(DAYS[0])
            memory.recall("warm up", domain="library", as_of=DAYS[0])
            asked = len(server.asked)
            task = history()[0].task
            assert memory.recall(task, domain="library", as_of=DAYS[0])
            assert len(server.asked) == asked

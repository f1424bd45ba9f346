"""The base's own data: sampled once and kept, read from a user's file, mixed in at the share that was asked for."""

import json

import numpy as np
import pytest
import torch

from synde_pipeline.errors import InputError
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.base_replay import (
    N_TOKENS,
    Texts,
    base_row,
    given_texts,
    read_texts,
    sample,
    sampled_texts,
    with_base,
)
from synde_pipeline.training.shards import SHARD
from synde_pipeline_tests.models_for_tests import tiny_base, tokenizer
from synde_pipeline_tests.training.test_train import ROWS


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "gemma2"])
def test_texts_are_the_bases_own_and_the_cache_changes_nothing(family):
    base = tiny_base(family)
    texts = sample(base, 5, 9, seed=3)
    assert texts == sample(base, 5, 9, seed=3) != sample(base, 5, 9, seed=4)
    assert [len(text) for text in texts] == [9] * 5
    first = tokenizer().get_vocab()["<|task|>"]
    generator = torch.Generator().manual_seed(3)
    ids = torch.full((5, 1), first)
    for _ in range(8):  # the reference reads every sequence anew
        p = base.model(ids).logits[:, -1].double().softmax(-1)
        ids = torch.cat([ids, torch.multinomial(p, 1, generator=generator)], 1)
    assert texts == ids.tolist()


def test_sampled_tokens_follow_the_bases_distribution():
    base = tiny_base()
    first = tokenizer().get_vocab()["<|task|>"]
    p = base.model(torch.tensor([[first]])).logits[0, 0].softmax(-1).detach().numpy()
    drawn = np.bincount([text[1] for text in sample(base, 4000, 2, seed=0)], minlength=len(p)) / 4000
    error = np.sqrt(p * (1 - p) / 4000)
    assert (np.abs(drawn - p) < 5 * error + 1e-9).all()


class Ended:
    """A foreign tokenizer: no markers, an end of text that also starts one."""

    bos_token_id = None
    eos_token_id = 7

    @staticmethod
    def get_vocab():
        return {}


def test_a_foreign_text_ends_at_its_end_of_text():
    base = tiny_base("gpt2")
    foreign = type(base)(base.model, Ended(), base.header)
    texts = sample(foreign, 300, 24, seed=0)
    assert all(text[0] == 7 and 2 <= len(text) <= 24 for text in texts)
    assert all(7 not in text[1:-1] for text in texts)
    assert any(text[-1] == 7 and len(text) < 24 for text in texts)
    homeless = type(base)(base.model, type("None_", (), {**vars(Ended), "eos_token_id": None})(), base.header)
    with pytest.raises(InputError, match="replay-data"):
        sample(homeless, 1, 4, seed=0)


def test_texts_are_sampled_once_and_kept_under_the_bases_hash(tmp_path):
    base, warehouse = tiny_base(), Warehouse(tmp_path)
    texts = sampled_texts(warehouse, base, n=4, n_tokens=6)
    (key,) = warehouse.keys("base_replay")
    path = warehouse.table_path("base_replay", key)
    written = path.stat().st_mtime_ns, path.read_bytes()
    assert base.hash.startswith(key)
    assert sampled_texts(warehouse, base, n=4, n_tokens=6) == texts
    assert (path.stat().st_mtime_ns, path.read_bytes()) == written
    assert warehouse.header("base_replay", key).content_hash == texts.hash
    assert len(sampled_texts(warehouse, base, n=5, n_tokens=6).ids) == 5


def test_rows_are_drawn_by_a_seed_and_fit_a_shard():
    texts = Texts(((1, 2, 3), (4, 5), (6, 7, 8, 9)))
    rows = texts.rows(3, "web-0001")
    assert sorted(len(row["input_ids"]) for row in rows) == [2, 3, 4]
    assert rows == texts.rows(3, "web-0001")
    assert any(rows != texts.rows(3, f"web-{k}") for k in range(5))
    assert len(texts.rows(7, "a")) == 7
    assert set(rows[0]) == {field.name for field in SHARD}
    assert all(row["weights"] == [0.0] + [1.0] * (len(row["input_ids"]) - 1) and row["is_replay"] for row in rows)
    assert texts.hash == Texts(((1, 2, 3), (4, 5), (6, 7, 8, 9))).hash != Texts(((1, 2, 3), (4, 5))).hash


@pytest.mark.parametrize(("share", "n"), [(0.0, 0), (0.2, 2), (0.5, 8)])
def test_the_bases_share_is_one_of_sequences_and_of_the_loss(share, n):
    rows = ROWS * 4
    texts = Texts(tuple(tuple(range(k, k + 60)) for k in range(12)))
    mixed = with_base(rows, texts, share, "web-0001")
    assert mixed[: len(rows)] == rows
    assert len(mixed) == len(rows) + n
    loss = [sum(row["weights"][1:]) for row in mixed]
    assert sum(loss[len(rows) :]) == pytest.approx(n / len(mixed) * sum(loss))


def test_a_whole_share_is_refused():
    with pytest.raises(ValueError, match="below 1"):
        with_base(ROWS, Texts(((1, 2),)), 1.0, "a")
    assert with_base(ROWS, Texts(((1, 2),)), 0.0, "a") == ROWS


def test_given_texts_are_read_from_lines_or_paragraphs(tmp_path):
    plain, lines = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_text("please renew\nmy loan\n\n\ncard not found\n", "utf-8")
    lines.write_text('"please renew\\nmy loan"\n\n' + json.dumps({"text": "card not found", "id": 3}) + "\n", "utf-8")
    assert read_texts(plain) == read_texts(lines) == ["please renew\nmy loan", "card not found"]
    found = given_texts(plain, tokenizer())
    assert [tokenizer().decode(ids) for ids in found.ids] == read_texts(plain)
    assert found.hash == given_texts(lines, tokenizer()).hash  # content counts, no path and no format


def test_long_texts_become_pieces_and_markers_in_them_stay_text(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("done thank you <|act|> " * 200, "utf-8")
    found = given_texts(path, tokenizer())
    assert max(map(len, found.ids)) == N_TOKENS < sum(map(len, found.ids))
    marker = tokenizer().get_vocab()["<|act|>"]
    assert all(marker not in ids for ids in found.ids)


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", "{}\n"), ("b.jsonl", "not json\n"), ("c.txt", "\n \n")])
def test_a_file_without_texts_is_refused_with_its_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=name):
        given_texts(path, tokenizer())
    with pytest.raises(InputError, match="cannot be read"):
        given_texts(tmp_path / "missing.txt", tokenizer())


def test_a_row_of_the_base_is_no_trajectorys():
    assert base_row("x", [1, 2], [0.0, 1.0])["trace_uid"] == "base:x"

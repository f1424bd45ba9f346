"""Reranking by the base's attention: scores as the masked forward pass gives them, on tiny bases and the embedded one."""

from pathlib import Path

import pytest
import torch

from synde_pipeline.base_model import Base, load_folder
from synde_pipeline.memory.block_attention import attention_by_mask
from synde_pipeline.memory.blockrank import BlockRank, rerank
from synde_pipeline.records import MemoryItem, content_hash
from synde_pipeline.settings import PromptConfig
from synde_pipeline.storage import Header
from synde_pipeline_tests.models_for_tests import tiny_base, tokenizer

EMBEDDED = Path(__file__).parents[2] / "data" / "base_model"
TASK = "price of lamp on zormek"


def item(title, content, scope="site:zormek", kind="strategy"):
    return MemoryItem(
        item_id=content_hash([scope, title])[:16],
        domain="web",
        kind=kind,
        scope=scope,
        title=title,
        description="",
        content=content,
        supports=(),
    )


ITEMS = [
    item("nav", "search"),
    item("extract", ".price, #cost", kind="pitfall"),
    item("renew_loan", "find the member before the loan", scope=""),
    item("nav", "browse", scope="site:bagsul"),
]


def embedded():
    return load_folder(EMBEDDED, Header(artefact="base_model", key="", content_hash="0" * 64))


def loud(base):
    """The same base with attention that is not all but even."""
    torch.manual_seed(5)
    with torch.no_grad():
        for layer in base.model.model.layers:
            layer.self_attn.q_proj.weight.normal_(0, 0.5)
            layer.self_attn.k_proj.weight.normal_(0, 0.5)
    return base


BASES = {"tiny": lambda: loud(tiny_base()), "embedded": embedded}


def by_mask(base, model, layer, n_signal):
    """BlockRank's formula on the attention of transformers' own masked forward pass."""
    documents = [model.item_ids(one) for one in ITEMS]
    blocks = [model.instruction, *documents, model.query_ids("web", TASK)]
    start, end = len(blocks[0]), sum(map(len, blocks[:-1]))
    part = attention_by_mask(base.model, blocks)[layer][:, -(n_signal or len(blocks[-1])) :, start:end]
    share = (part / part.sum(-1, keepdim=True)).mean((0, 1))
    return [float(tokens.sum()) for tokens in share.split(list(map(len, documents)))]


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("n_signal", [2, None])
def test_scores_are_the_formula_on_one_masked_forward_pass_and_sum_to_one(name, n_signal):
    base = BASES[name]()
    for layer in range(base.model.config.num_hidden_layers):
        model = BlockRank(base, PromptConfig(), layer=layer, n_signal=n_signal)
        found = model.scores(TASK, ITEMS)
        assert found == pytest.approx(by_mask(base, model, layer, n_signal), abs=1e-4)
        assert sum(found) == pytest.approx(1, abs=1e-4)
        assert max(found) - min(found) > 1e-3


def test_icr_is_all_attention_to_an_item_beyond_what_a_task_without_content_gets():
    base = embedded()
    model = BlockRank(base, PromptConfig())
    documents = [model.item_ids(one) for one in ITEMS]
    sums = []
    for task in (TASK, "N/A"):
        query = model.query_ids("web", task)
        start = len(model.instruction)
        layers = attention_by_mask(base.model, [model.instruction, *documents, query])
        tokens = sum(layer[:, -len(query) :, start : -len(query)].mean(1).sum(0) for layer in layers)
        sums.append([float(part.sum()) for part in tokens.split(list(map(len, documents)))])
    assert model.icr_scores(TASK, ITEMS) == pytest.approx([a - b for a, b in zip(*sums, strict=True)], abs=1e-4)
    assert model.icr_scores("N/A", ITEMS) == pytest.approx([0] * 4, abs=1e-6)


def test_the_middle_layer_is_the_default():
    assert BlockRank(embedded(), PromptConfig()).layer == 2


def test_items_come_back_best_first_whatever_their_order():
    model = BlockRank(embedded(), PromptConfig())
    found = rerank(TASK, ITEMS, model)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert rerank(TASK, ITEMS[::-1], model) == found
    assert {one.item_id for one, _ in found} == {one.item_id for one in ITEMS}
    assert rerank(TASK, [], model) == []


def test_items_that_read_alike_keep_the_order_of_their_ids():
    twins = [ITEMS[0].model_copy(update={"item_id": id}) for id in ("b", "a", "c")]
    found = rerank(TASK, twins, BlockRank(embedded(), PromptConfig()))
    assert [one.item_id for one, _ in found] == ["a", "b", "c"]
    assert [score for _, score in found] == pytest.approx([1 / 3] * 3, abs=1e-4)


def test_a_base_without_our_markers_reads_an_instruction_in_words():
    """The last tokens of its query, which are the signal, are the opening bracket and what stands before it."""
    base = Base(tiny_base().model, tokenizer(), tiny_base().header)
    model = BlockRank(base, PromptConfig())
    known = tokenizer().get_vocab()
    if "<|memory|>" in known:
        pytest.skip("the tiny tokenizer knows the markers")
    assert "Notes from earlier tasks" in tokenizer().decode(model.instruction)
    assert tokenizer().decode(model.query_ids("web", TASK)).endswith("[")

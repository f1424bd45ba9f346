"""Reranking by the base's attention: scores as a masked forward pass gives them, tiny bases and the embedded one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from synde_pipeline.base_model import Base, load_folder
from synde_pipeline.memory.block_attention import attention_by_mask
from synde_pipeline.memory.blockrank import BlockRank, rerank
from synde_pipeline.records import MemoryItem, content_hash
from synde_pipeline.settings import PromptConfig
from synde_pipeline.simulation.worlds.base import HELD_OUT
from synde_pipeline.storage import Header
from synde_pipeline_tests.models_for_tests import tiny_base
from synde_pipeline_tests.prompting.chat_templates import chat_tokenizer

EMBEDDED = Path(__file__).parents[2] / "data" / "base_model"
FACTS = [("nav", "search"), ("extract", ".price"), ("unblock", "wait")]
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


def masked(base, model, query):
    """Attention weights of transformers' own masked forward pass: of the query's tokens, to all before it."""
    blocks = [model.instruction, *map(model.item_ids, ITEMS), query]
    return [layer[:, -len(query) :, : -len(query)] for layer in attention_by_mask(base.model, blocks)]


def sums(model, tokens):
    """Sum of each item's part of (instruction and item tokens,)."""
    lengths = [len(model.item_ids(one)) for one in ITEMS]
    return np.array([float(part.sum()) for part in tokens[len(model.instruction) :].split(lengths)])


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("per_title", "n_signal"), [(True, 1), (True, 2), (False, 2), (False, 99)])
def test_scores_are_the_formula_on_masked_forward_passes_and_sum_to_one(name, per_title, n_signal):
    base = BASES[name]()
    for layer in range(base.model.config.num_hidden_layers):
        model = BlockRank(base, PromptConfig(), layer=layer, per_title=per_title, n_signal=n_signal)
        queries = model.queries(TASK, ITEMS)
        assert len(queries) == (3 if per_title else 1)
        expected = 0
        for query in queries:
            part = masked(base, model, query)[layer][:, -n_signal:]
            to_items = part[:, :, len(model.instruction) :].sum(-1, keepdim=True)
            expected = expected + sums(model, (part / to_items).mean((0, 1)))
        found = model.scores(TASK, ITEMS)
        assert found == pytest.approx(expected / len(queries), abs=1e-4)
        assert sum(found) == pytest.approx(1, abs=1e-4)
        assert max(found) - min(found) > 1e-3


@pytest.mark.parametrize("per_title", [True, False])
def test_icr_is_all_attention_to_an_item_beyond_what_a_task_without_content_gets(per_title):
    base = embedded()
    model = BlockRank(base, PromptConfig(), per_title=per_title)
    asked, free = (
        np.mean(
            [sums(model, sum(layer.mean(1).sum(0) for layer in masked(base, model, query))) for query in queries], 0
        )
        for queries in (model.queries(TASK, ITEMS), model.queries("N/A", ITEMS))
    )
    assert model.icr_scores(TASK, ITEMS) == pytest.approx(asked - free, abs=1e-4)
    assert model.icr_scores("N/A", ITEMS) == pytest.approx([0] * 4, abs=1e-6)


def test_the_base_attends_to_the_place_that_it_is_asked_about():
    """Names that no pre-training saw. Each place's items, and no other's, hold most of the attention."""
    items = [item(tool, option, f"site:{name}") for name in HELD_OUT[:4] for tool, option in FACTS]
    model = BlockRank(embedded(), PromptConfig())
    for name in HELD_OUT[:4]:
        first = [one.place for one, _ in rerank(f"price of lamp on {name}", items, model)[: len(FACTS)]]
        assert first == [name] * len(FACTS)


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
    tokens = chat_tokenizer()
    model = BlockRank(Base(loud(tiny_base()).model, tokens, tiny_base().header), PromptConfig())
    assert tokens.decode(model.instruction).startswith("Notes from earlier tasks")
    assert tokens.decode(model.item_ids(ITEMS[0])) == "\n- zormek, nav: use search"
    (query,) = model.queries(TASK, ITEMS)
    assert tokens.decode(query) == f"\n\nTask: web: {TASK}\nThe note that helps: ["
    assert sum(model.scores(TASK, ITEMS)) == pytest.approx(1, abs=1e-4)

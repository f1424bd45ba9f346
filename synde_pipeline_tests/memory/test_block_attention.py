"""Attention in blocks: kept keys say what one masked forward pass of transformers says, and documents do not mix."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from synde_pipeline.errors import BaseModelError
from synde_pipeline.memory.block_attention import BlockAttention, attention_by_mask, block_mask, block_positions
from synde_pipeline_tests.models_for_tests import tiny

TOLERANCE = 1e-4
SIZES = {
    **{"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.4},
}
INSTRUCTION = (3, 1, 4)
DOCUMENTS = [(10, 11, 12, 13), (20, 21), (30, 31, 32, 33, 34, 35), (40,), (50, 51, 52)]
QUERY = (60, 61, 62, 63)


def model(family="llama"):
    torch.manual_seed(1)
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)).eval()
    if family == "qwen2":
        made = Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval()
        for layer in made.model.layers:  # biases start at zero, where forgetting them would not be seen
            torch.nn.init.normal_(layer.self_attn.k_proj.bias)
            torch.nn.init.normal_(layer.self_attn.v_proj.bias)
        return made
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def weights(kept, documents=DOCUMENTS, query=QUERY):
    return [logits[0].softmax(-1) for logits in kept.logits(documents, [query])]


def furthest(a, b):
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_the_mask_is_the_papers_formula(lengths):
    block = [k for k, n in enumerate(lengths) for _ in range(n)]
    last = len(lengths) - 1
    expected = [
        [j <= i and (block[i] == block[j] or block[j] == 0 or block[i] == last) for j in range(len(block))]
        for i in range(len(block))
    ]
    assert block_mask(lengths).tolist() == expected


def test_documents_begin_together_and_the_query_behind_the_longest():
    assert block_positions([2, 1, 3, 2]).tolist() == [0, 1, 2, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_kept_keys_give_the_attention_of_one_masked_forward_pass(family):
    its = model(family)
    found = weights(BlockAttention(its, INSTRUCTION))
    expected = [layer[:, -len(QUERY) :] for layer in attention_by_mask(its, [INSTRUCTION, *DOCUMENTS, QUERY])]
    assert len(found) == 3
    assert furthest(found, expected) < TOLERANCE
    assert its.config._attn_implementation == model(family).config._attn_implementation


def test_queries_asked_together_are_answered_as_if_alone():
    kept = BlockAttention(model(), INSTRUCTION)
    together = [layer.softmax(-1) for layer in kept.logits(DOCUMENTS, [QUERY, QUERY[:2], (64, 65, 66)])]
    for row, query in enumerate([QUERY, QUERY[:2], (64, 65, 66)]):
        own = sum(map(len, [INSTRUCTION, *DOCUMENTS, query]))
        assert (
            furthest([layer[row, :, : len(query), :own] for layer in together], weights(kept, query=query)) < TOLERANCE
        )


def test_a_document_alone_behind_the_instruction_gives_the_kept_keys_and_values():
    """The reference is the model's own forward pass over instruction and one document, with its own cache."""
    its = model()
    kept = BlockAttention(its, INSTRUCTION).key_values(DOCUMENTS)
    for document, layers in zip(DOCUMENTS, kept, strict=True):
        with torch.inference_mode():
            cache = its(input_ids=torch.tensor([[*INSTRUCTION, *document]]), use_cache=True).past_key_values
        for (key, value), layer in zip(layers, cache.layers, strict=True):
            assert furthest([key, value], [layer.keys[:, :, 3:], layer.values[:, :, 3:]]) < TOLERANCE


def test_the_order_of_the_documents_says_nothing():
    its = model()
    in_order = BlockAttention(its, INSTRUCTION)
    found, causal = {}, {}
    for order in [(0, 1, 2, 3, 4), (4, 2, 0, 1, 3), (3, 4, 2, 1, 0)]:
        documents = [DOCUMENTS[k] for k in order]
        layer = weights(in_order, documents)[-1]
        parts = layer[:, :, 3:-4].split(list(map(len, documents)), dim=-1)
        found[order] = torch.cat([parts[order.index(k)] for k in range(5)], -1)
        with torch.inference_mode():
            its.set_attn_implementation("eager")
            ids = torch.tensor([[*INSTRUCTION, *itertools.chain(*documents), *QUERY]])
            plain = its(input_ids=ids, output_attentions=True).attentions[-1][0, :, -4:, 3:-4]
            its.set_attn_implementation("sdpa")
        parts = plain.split(list(map(len, documents)), dim=-1)
        causal[order] = torch.cat([parts[order.index(k)] for k in range(5)], -1)
    first, *others = found.values()
    assert max(furthest([first], [other]) for other in others) < TOLERANCE
    first, *others = causal.values()
    assert min(furthest([first], [other]) for other in others) > 0.01  # under plain causal attention it says something


def test_other_documents_change_nothing_about_a_document_and_only_the_query_above_the_first_layer():
    """A document's keys and values are its own in every layer. The query reads all documents: from the second layer on
    it is another query, so only in the first are the scores before the softmax those of the document alone."""
    its = model()
    others = [(70, 71, 72, 73, 74, 75), (80, 81)]  # the longest stays as long: it says where the query stands
    before, after = BlockAttention(its, INSTRUCTION), BlockAttention(its, INSTRUCTION)
    pairs = zip(before.key_values(DOCUMENTS)[0], after.key_values([DOCUMENTS[0], *others])[0], strict=True)
    assert max(furthest(a, b) for a, b in pairs) < TOLERANCE
    first = [logits[..., 3:7] for logits in before.logits(DOCUMENTS, [QUERY])]
    second = [logits[..., 3:7] for logits in after.logits([DOCUMENTS[0], *others], [QUERY])]
    assert furthest(first[:1], second[:1]) < TOLERANCE
    assert all(furthest([a], [b]) > 0.01 for a, b in zip(first[1:], second[1:], strict=True))


@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 6), st.integers(1, 40))
def test_every_further_document_costs_the_same_pairs(head, size, tail, n):
    pairs = [int(block_mask([head, *[size] * k, tail]).sum()) for k in range(n, n + 3)]
    assert pairs[1] - pairs[0] == pairs[2] - pairs[1] == size * head + size * (size + 1) // 2 + tail * size


def tokens_read(its, act):
    """Tokens that the model reads while something is done."""
    read = []
    hook = its.model.embed_tokens.register_forward_hook(lambda _, given, __: read.append(given[0].numel()))
    act()
    hook.remove()
    return sum(read)


def test_a_kept_document_is_not_read_again():
    its = model()
    kept = BlockAttention(its, INSTRUCTION)
    weights(kept)
    assert tokens_read(its, lambda: weights(kept)) == len(QUERY)
    assert tokens_read(its, lambda: weights(kept, [*DOCUMENTS, (90, 91, 92)])) == len(QUERY) + 3


def test_the_oldest_documents_are_dropped_and_read_again_when_asked_for():
    its = model()
    few = BlockAttention(its, INSTRUCTION, max_kept=2)
    assert furthest(weights(few), weights(BlockAttention(its, INSTRUCTION))) < TOLERANCE
    assert few.n_kept == 2
    assert tokens_read(its, lambda: weights(few)) > len(QUERY)


def test_layers_above_the_wanted_ones_are_not_computed():
    its = model()
    low = BlockAttention(its, INSTRUCTION, n_layers=1)
    its.model.layers[1].mlp.register_forward_hook(lambda *_: pytest.fail("read the second layer"))
    its.model.layers[0].mlp.register_forward_hook(lambda *_: pytest.fail("needs no values of the last layer"))
    assert len(weights(low)) == 1


@pytest.mark.parametrize("family", ["gpt2", "neox", "gemma2"])
def test_other_families_are_refused(family):
    with pytest.raises(BaseModelError, match="embedder alone"):
        BlockAttention(tiny(family), INSTRUCTION)


def test_windows_and_positions_that_move_with_the_length_are_refused():
    sliding = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)).eval()
    moving = LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0})
    for one in (sliding, LlamaForCausalLM(moving)):
        with pytest.raises(BaseModelError, match="expected one of llama, mistral, qwen2"):
            BlockAttention(one, INSTRUCTION)


def test_blocks_beyond_the_models_positions_are_refused():
    with pytest.raises(BaseModelError, match="expected at most 128"):
        list(BlockAttention(model(), INSTRUCTION).logits([tuple(range(90))], [tuple(range(36))]))

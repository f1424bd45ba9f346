"""Attention inside packed sequences, against the plain formula."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.training.attention import attend

LAST = SimpleNamespace(layer_idx=1, config=SimpleNamespace(num_hidden_layers=2))
EARLIER = SimpleNamespace(layer_idx=0, config=SimpleNamespace(num_hidden_layers=2))


def plain(query, key, value, lengths, window=None):
    """softmax(q k / sqrt(d)) v with a dense mask, sequence by sequence."""
    found = []
    for q, k, v in zip(*(x[0].split(lengths, dim=1) for x in (query, key, value)), strict=True):
        behind = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])
        hidden = (behind < 0) | (behind >= (window or q.shape[1]))
        scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(hidden, -torch.inf)
        found.append(scores.softmax(-1) @ v)
    return torch.cat(found, dim=1).transpose(0, 1)[None]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_queries_that_are_read_see_the_same_and_teach_the_same(data):
    lengths = data.draw(st.lists(st.integers(2, 300), min_size=1, max_size=3))
    window = data.draw(st.sampled_from([None, 7, 90]))
    rows = [torch.tensor(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n)))) for n in lengths]
    flat = torch.cat([row + sum(lengths[:k]) for k, row in enumerate(rows)])
    torch.manual_seed(sum(lengths))
    qkv = [torch.randn(1, 2, sum(lengths), 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    options = {"sequence_lengths": lengths, "sliding_window": window}
    ours = attend(LAST, *qkv, None, last_queries=rows, **options)[0][:, flat]
    theirs = plain(*qkv, lengths, window)[:, flat]
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for mine, reference in zip(
        torch.autograd.grad((ours * weights).sum(), qkv),
        torch.autograd.grad((theirs * weights).sum(), qkv),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("layer", [EARLIER, SimpleNamespace()])
def test_a_layer_that_others_read_is_computed_whole(layer):
    qkv = [torch.randn(1, 2, 200, 4) for _ in range(3)]
    found = attend(layer, *qkv, None, sequence_lengths=[200], last_queries=[torch.tensor([3, 150])])[0]
    torch.testing.assert_close(found, plain(*qkv, [200]))


def test_where_few_are_read_nothing_else_is_computed():
    qkv = [torch.randn(1, 2, 200, 4) for _ in range(3)]
    found = attend(LAST, *qkv, None, sequence_lengths=[200], last_queries=[torch.tensor([3, 150])])[0]
    assert found[0].abs().sum(dim=(1, 2)).nonzero().flatten().tolist() == [3, 150]

"""The implicit update against the model itself: the query alone, under its patch, answers as behind its context."""

import pytest
import torch

from synde_pipeline.errors import BaseModelError
from synde_pipeline.models.implicit import Query, blocks_of, implicit_update, implicit_updates, patched
from synde_pipeline.studies.mechanism.families import NAMES, random_model

CONTEXT = 20
# Root mean squares are taken in float32 by the library, whatever the model's own precision.
IN_FLOAT32 = {"Llama", "Qwen 2", "Qwen 3", "Mistral", "Gemma", "Gemma 2", "Gemma 3"}


def drawn(seed: int = 0, n: int = CONTEXT) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randperm(97, generator=torch.Generator().manual_seed(seed))
    return ids[:n], ids[n : n + 1]


@torch.no_grad()
def behind(model, context, query):
    return model(input_ids=torch.cat([context, query])[None]).logits[0, -1]


@torch.no_grad()
def alone(model, context, query):
    return model(input_ids=query[None], position_ids=torch.tensor([[len(context)]])).logits[0, -1]


@pytest.mark.parametrize("name", NAMES)
def test_patched_weights_answer_as_the_context_does(name):
    for dtype, limit in ((torch.float32, 1e-4), (torch.float64, 1e-5 if name in IN_FLOAT32 else 1e-12)):
        model = random_model(name, seed=1, dtype=dtype)
        context, query = drawn()
        wanted, without = behind(model, context, query), alone(model, context, query)
        with patched(model, implicit_update(model, context, query)):
            found = alone(model, context, query)
        assert (found - wanted).abs().max() <= limit
        assert (without - wanted).abs().max() > 1  # the context does matter


@pytest.mark.parametrize("name", NAMES)
def test_the_update_of_one_query_is_of_rank_one_and_not_another_ones(name):
    model = random_model(name, seed=2, dtype=torch.float64)
    context, query = drawn()
    other = (query + 1) % 97
    update = implicit_update(model, context, query)
    for change in (one for one in update.values() if one.dim() == 2):
        values = torch.linalg.svdvals(change)
        assert values[1] <= 1e-6 * max(float(values[0]), 1e-3)
    with patched(model, update):
        found = alone(model, context, other)
    assert (found - behind(model, context, other)).abs().max() > 0.3


@pytest.mark.parametrize("name", ["Llama", "GPT-2", "Gemma 2"])
def test_only_part_of_the_context_may_be_replaced(name):
    model = random_model(name, seed=3)
    context, query = drawn()
    both = torch.cat([context, query])[None]
    asked = Query(model, both, both[:, -6:])
    with patched(model, {key: one.dense(0) for key, one in implicit_updates(asked).items()}):
        found = asked.alone()[0]
    assert (found - behind(model, context, query)).abs().max() <= 1e-4
    # what stays of the context stays in force: it is no query alone
    assert (asked.alone()[0] - alone(model, context, query)).abs().max() > 0.1


def test_a_batch_of_queries_gives_each_its_own_update_and_the_cosines_are_theirs():
    model = random_model("GPT-2", dtype=torch.float64)
    context, _ = drawn()
    queries = torch.tensor([[3], [50], [77]])
    batch = implicit_updates(Query(model, torch.cat([context.expand(3, -1), queries], 1), queries))
    each = [implicit_update(model, context, query) for query in queries]
    for name, factors in batch.items():
        for row in range(3):
            torch.testing.assert_close(factors.dense(row), each[row][name])
            assert float(factors.norms()[row]) == pytest.approx(float(each[row][name].norm()))
        flat = torch.nn.functional.normalize(torch.stack([one[name].flatten() for one in each]), dim=1)
        torch.testing.assert_close(factors.cosines(), flat @ flat.T)


def test_in_parallel_blocks_the_first_matrix_gets_nothing():
    model = random_model("GPT-NeoX, parallel", dtype=torch.float64)
    update = implicit_update(model, *drawn())
    first = {f"{name}.weight" for block in blocks_of(model) for name in block.first}
    assert max(float(update[name].norm()) for name in first) < 1e-10
    assert min(float(update[name].norm()) for name in update if name not in first) > 0.1


def test_embeddings_serve_as_well_as_token_ids():
    model = random_model("GPT-NeoX, sequential")
    context, query = drawn()
    read = model.get_input_embeddings()
    by_ids = implicit_update(model, context, query)
    by_vectors = implicit_update(model, read(context).detach(), read(query).detach())
    assert all(torch.equal(by_ids[name], by_vectors[name]) for name in by_ids)


def test_afterwards_the_weights_are_what_they_were_to_the_bit():
    model = random_model("Llama")
    before = {name: one.clone() for name, one in model.named_parameters()}
    update = implicit_update(model, *drawn())
    changed = model.model.layers[0].mlp.up_proj.weight

    def fail() -> None:
        with patched(model, update):
            assert not torch.equal(changed, before["model.layers.0.mlp.up_proj.weight"])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())


def test_a_model_without_known_blocks_is_refused():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp = torch.nn.ModuleDict({"up_proj": torch.nn.Linear(2, 2), "gate_proj": torch.nn.Linear(2, 2)})

    model = torch.nn.ModuleDict({"layer": Block()})
    model.config = None
    with pytest.raises(BaseModelError, match=r"layer.*expected first matrices"):
        blocks_of(model)

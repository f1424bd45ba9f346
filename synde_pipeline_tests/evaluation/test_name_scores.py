"""Names scored in one branching pass are as likely as names that are each read after their prefix."""

import pytest
import torch

from synde_pipeline.evaluation.name_scores import Asked, NameScores
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny

NAMES = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]]


def read(model, ids: torch.Tensor):
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=True).past_key_values


def alone(model, ids: torch.Tensor, asked: Asked) -> list[float]:
    """Each name with a forward pass of its own, without its first token."""
    found = []
    for name in asked.names:
        whole = torch.cat([ids[0, : asked.start], torch.tensor(name)])[None]
        with torch.no_grad():
            log_p = model(whole, use_cache=False).logits[0].double().log_softmax(-1)
        found.append(sum(float(log_p[asked.start + k - 1, token]) for k, token in enumerate(name) if k))
    return found


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2"])
def test_every_prefix_of_a_window_and_every_name_is_scored_as_if_it_stood_alone(family):
    model = tiny(family, seed=3)
    scores = NameScores(model)
    # Short first: a sliding-window cache holds all of it, and may not be taken at its word for what comes later.
    for length in (6, 40, 120):
        ids = torch.randint(0, 200, (1, length), generator=torch.Generator().manual_seed(length))
        asked = [Asked(start, NAMES) for start in (2, length // 2, length - 1)]
        found = scores.rest(ids, read(model, ids), asked)
        for one, row in zip(asked, found, strict=True):
            assert row == pytest.approx(alone(model, ids, one), abs=1e-4)


def test_many_names_take_several_passes():
    model, ids = tiny(), torch.arange(20, 50)[None]
    asked = [Asked(start, NAMES) for start in (5, 17)]
    found = NameScores(model, most_tokens=8).rest(ids, read(model, ids), asked)
    assert found == [pytest.approx(alone(model, ids, one), abs=1e-4) for one in asked]


def test_nothing_asked_is_nothing_read():
    assert NameScores(tiny()).rest(torch.ones((1, 4), dtype=torch.long), None, []) == []

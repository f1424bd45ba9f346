"""KL to the base: exact, zero where nothing was trained, with an error that texts decide."""

import numpy as np
import pytest
import torch

from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.base_replay import Texts
from synde_pipeline.training.probe import adapted, kl_to_base, plain
from synde_pipeline_tests.models_for_tests import FAMILIES, tiny
from synde_pipeline_tests.training.test_bank import merged, random_adapter
from synde_pipeline_tests.training.test_train import ROWS

PROBE = [*ROWS, *Texts((tuple(range(20, 30)), tuple(range(50, 90)))).rows(2, "probe")]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_divergence_of_the_two_distributions_at_the_targets(family):
    model = tiny(family)
    adapter = random_adapter(model, 1)
    found, error = kl_to_base(plain(merged(family, adapter)), plain(model), PROBE, pad_id=0)
    means, counts = [], []
    for row in PROBE:
        ids = torch.tensor([row["input_ids"]])
        p = model(ids).logits[0].double().log_softmax(-1)
        q = merged(family, adapter)(ids).logits[0].double().log_softmax(-1)
        where = [i - 1 for i, weight in enumerate(row["weights"]) if weight and i]
        means.append(float((p.exp() * (p - q)).sum(-1)[where].sum().detach()))
        counts.append(len(where))
    assert found == pytest.approx(sum(means) / sum(counts), rel=1e-3)
    assert found > 1e-4
    # Against a bootstrap over texts: four are few, so it is only near.
    draws = np.random.default_rng(0).multinomial(4, [0.25] * 4, size=4000)
    spread = ((draws @ np.array(means)) / (draws @ np.array(counts))).std()
    assert 0.6 < error / spread < 1.8


def test_an_adapter_beside_its_own_base_is_measured_without_a_second_model():
    model = tiny()
    adapter = random_adapter(model, 2)
    bank = AdapterBank.of(model, [random_adapter(model, 0), adapter])
    through = kl_to_base(adapted(model, bank, 1), plain(model), PROBE, pad_id=0)
    assert through == pytest.approx(
        kl_to_base(plain(merged("llama", adapter)), plain(tiny()), PROBE, pad_id=0), rel=1e-3
    )
    assert kl_to_base(adapted(model, bank, -1), plain(model), PROBE, pad_id=0) == (0.0, 0.0)


def test_one_text_has_no_error():
    model = tiny()
    with pytest.raises(ValueError, match="1 texts"):
        kl_to_base(plain(model), plain(model), PROBE[:1], pad_id=0)

"""Retention: backward transfer against its definition, sets that stay bounded, a matrix over real cycles."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.base_model import load
from synde_pipeline.evaluation.arms import evaluate_cycle
from synde_pipeline.evaluation.own_data import nats, on_own_data, own_texts
from synde_pipeline.evaluation.report import publish
from synde_pipeline.evaluation.retention import backward_transfer, cell_of, sets_to_try
from synde_pipeline.logs.daily import load_all
from synde_pipeline.models.registry import promote
from synde_pipeline.settings import EvaluationConfig
from synde_pipeline.storage import Header
from synde_pipeline.training.base_replay import base_row
from synde_pipeline.training.cycles import ARTEFACT, cycles
from synde_pipeline.training.probe import plain
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, REPORT
from synde_pipeline_tests.models.test_bank import SETTINGS, trained
from synde_pipeline_tests.models_for_tests import pin_tiny, tiny

CONFIG = EvaluationConfig(bootstrap=400)

cells = st.dictionaries(
    st.sampled_from("abcdef"),
    st.integers(0, 4).map(lambda n: (float(n), 4.0)),
    min_size=1,
)


@given(st.dictionaries(st.sampled_from(["c1", "c2", "c3"]), st.tuples(cells, cells), min_size=1), st.booleans())
def test_backward_transfer_is_the_mean_change_over_sets_on_the_units_in_both(pairs, is_lower_better):
    found = backward_transfer(pairs, is_lower_better=is_lower_better, config=EvaluationConfig(bootstrap=100))
    changes, units = [], set()
    for now, then in pairs.values():
        both = now.keys() & then.keys()
        units |= both
        if both:
            now_rate = sum(now[u][0] for u in both) / sum(now[u][1] for u in both)
            changes.append(now_rate - sum(then[u][0] for u in both) / sum(then[u][1] for u in both))
    if len(units) < 2:
        assert found is None
        return
    assert found.value == pytest.approx((-1 if is_lower_better else 1) * float(np.mean(changes)))
    assert found.n == len(changes)
    assert found.low <= found.high


def test_forgetting_is_negative_in_both_directions_of_a_metric():
    full, half = ({f"site:{k}": (n, 8.0) for k in range(8)} for n in (8.0, 4.0))
    lost = backward_transfer({"c": (half, full)}, is_lower_better=False, config=CONFIG)
    assert (lost.value, lost.high) == (-0.5, -0.5)
    assert backward_transfer({"c": (half, full)}, is_lower_better=True, config=CONFIG).value == 0.5
    assert backward_transfer({}, is_lower_better=True, config=CONFIG) is None


def test_sets_that_share_a_place_are_resampled_together():
    """Two sets of the same places are no more evidence than one."""
    rng = np.random.default_rng(1)
    now, then = ({f"site:{k}": (float(n), 4.0) for k, n in enumerate(rng.integers(0, 5, 12))} for _ in range(2))
    once = backward_transfer({"a": (now, then)}, is_lower_better=False, config=CONFIG)
    twice = backward_transfer({"a": (now, then), "b": (now, then)}, is_lower_better=False, config=CONFIG)
    assert twice.se == pytest.approx(once.se)


def test_sums_of_a_unit_add_up():
    assert cell_of([("b", 1.0, 2.0), ("a", 1.0, 1.0), ("b", 0.5, 2.0)]) == {"a": (1.0, 1.0), "b": (1.5, 4.0)}


def frozen(warehouse, number):
    info = {"domain": "web", "number": number, "sequence": number, "last_day": "2025-01-01", "claims": []}
    key = f"web-{number:04d}"
    header = Header(artefact=ARTEFACT, key=key, content_hash=key, info=info)
    warehouse.publish_folder(ARTEFACT, key, lambda _: None, lambda _: header)


def test_a_model_is_tried_on_a_bounded_number_of_sets_with_the_oldest_and_the_newest(warehouse):
    for number in range(1, 12):
        frozen(warehouse, number)
    last = cycles(warehouse)[-1]
    config = EvaluationConfig(retention_sets=4)
    found = [one.number for one in sets_to_try(warehouse, last, config)]
    assert (len(found), found[0], found[-2], found[-1]) == (5, 1, 10, 11)
    assert [one.number for one in sets_to_try(warehouse, cycles(warehouse)[1], config)] == [1, 2]
    assert sets_to_try(warehouse, last, EvaluationConfig(side_tasks=0)) == []


def test_a_second_cycle_is_measured_on_the_first_ones_days_and_the_matrix_holds_both_and_the_base(warehouse):
    pin_tiny(warehouse)
    few = EvaluationConfig(min_tasks=2, bootstrap=100, side_tasks=4)
    alone = SETTINGS.training.model_copy(update={"scopes_per_adapter": 1})
    config = SETTINGS.model_copy(update={"evaluation": few, "training": alone})
    made = []
    for n, scope in enumerate(("site:a", "site:b")):
        day = DAY + timedelta(n)
        runs = [
            trajectory(f"r{n}:{k}", task=REPORT[3 * n + k], day=day, scope=scope, steps=called(*GOOD)) for k in range(3)
        ]
        land(warehouse, runs, name=f"report{n}")
        cycle, model = trained(warehouse, day, scope, config=config)
        report = evaluate_cycle(warehouse, cycle, load_all(warehouse), config)
        publish(warehouse, cycle.key, report, {"merged_models": model.content_hash})
        promote(warehouse, cycle, model, "better")
        made.append((cycle.key, report))
    (first, earlier), (second, later) = made
    assert earlier["retention"]["backward_transfer"] is None
    assert list(earlier["retention"]["rows"]) == ["base", first]
    held = later["retention"]
    assert held["sets"] == [first, second]
    assert {name: sorted(row) for name, row in held["rows"].items()} == {
        "base": [first, second],
        first: [first],
        second: [first, second],
    }
    # Routed adapters do not touch each other: the second cycle's bank does the first one's tasks exactly as before.
    now, then, base = held["row"][first], earlier["retention"]["row"][first], earlier["retention"]["base"]
    assert [now[task][0] for task in then] == [pytest.approx(nll, abs=1e-4) for nll, _ in then.values()]
    assert [abs(base[task][0] - nll) > 1e-3 for task, (nll, _) in then.items()] == [True] * 3
    moved = held["backward_transfer"]
    assert (moved["value"], moved["sets"]) == (pytest.approx(0, abs=1e-5), [first])
    assert [point["cycle"] for point in later["curve"]] == [first, second]
    assert later["own_data"]["n_texts"] == 4
    days = [[str(DAY + timedelta(n))] * 2 for n in range(2)]
    assert [row["days"] for row in later["contents"]] == days
    assert [row["learned_from"] for row in later["contents"]] == [["site:a"], ["site:b"]]


# -- the base's own data ----------------------------------------------------------------------------------------------


def test_nats_are_the_models_own_cross_entropy():
    import torch

    model, ids = tiny(), [[3, 5, 8, 2, 9], [7, 1, 4]]
    rows = [base_row(f"x{k}", one, [0.0] + [1.0] * (len(one) - 1)) for k, one in enumerate(ids)]
    found, counts = nats(plain(model), rows, pad_id=0)
    assert counts.tolist() == [4, 2]
    for k, one in enumerate(ids):
        tokens = torch.tensor([one])
        with torch.no_grad():
            expected = float(model(tokens, labels=tokens).loss) * (len(one) - 1)
        assert found[k] == pytest.approx(expected, rel=1e-5)


def test_the_adapters_of_a_cycle_are_switched_on_by_force_on_the_bases_own_data(warehouse):
    pin_tiny(warehouse)
    _, model = trained(warehouse, DAY, "site:a")
    base = load(warehouse)
    texts = own_texts(base, SETTINGS)
    assert len(texts[1]) == SETTINGS.evaluation.side_tasks
    found = on_own_data(warehouse, base, model, texts, CONFIG)
    assert found["base"] != found["model"]
    assert found["difference"]["value"] == pytest.approx(found["model"] - found["base"])
    assert on_own_data(warehouse, base, model, ("nothing", []), CONFIG) is None
    again = on_own_data(warehouse, base, model, own_texts(base, SETTINGS), CONFIG)
    assert again == found  # no adapter stays on the base

"""The study of BlockRank: its questions' labels, its rankers and metrics, and a verdict that follows the interval."""

import json
import math

import numpy as np
import pytest

from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.records import split_of
from synde_pipeline.studies.blockrank import CHOSEN, _compared, _estimate, claims_of, is_worth_it, study
from synde_pipeline.studies.blockrank_questions import (
    METRICS,
    WORDINGS,
    Size,
    _metrics,
    as_found,
    best_recall3,
    bm25,
    by_chance,
    embedder_per_title,
    measure,
    questions,
)
from synde_pipeline_tests.studies.study_runs import quick_run

SIZE = Size(8)
ASKED = {split: questions(SIZE, 3, split, HashingEmbedder()) for split in ("gate", "report")}


@pytest.mark.parametrize("split", ASKED)
def test_the_relevant_items_are_the_ones_of_the_tasks_place_and_say_what_works_there(split):
    assert len(ASKED[split]) == 16
    for one in ASKED[split]:
        assert split_of(one.task.task_id) == split
        relevant = [item for item, says in zip(one.items, one.is_relevant, strict=True) if says]
        right = {stage.tool: one.task.place.right_option(stage, 1) for stage in one.task.stages}
        assert all((item.place, item.content) == (one.task.place.name, right[item.title]) for item in relevant)
        assert {item.domain for item in one.items} == {one.task.place.world.domain}
        assert len(relevant) < len(one.items) <= SIZE.n_candidates


def test_the_other_wording_asks_the_same_with_the_place_first():
    for one, other in zip(ASKED["report"], questions(SIZE, 3, "report", HashingEmbedder(), "place first"), strict=True):
        assert one.task == other.task
        assert one.text == one.task.text
        assert sorted(other.text.split()) == sorted(one.text.split())
        assert other.text.split()[1] == one.task.place.name == one.text.split()[-1]


def test_choosing_and_reporting_share_no_place():
    chosen, reported = ({one.place for one in ASKED[split]} for split in ("gate", "report"))
    assert len(chosen) == len(reported) == 8
    assert not chosen & reported


@pytest.mark.parametrize(
    ("order", "expected"),
    [("1000", (1, 1 / 3, 1)), ("0111", (0, 2 / 3, 1 / 2)), ("0001", (0, 0, 1 / 4)), ("0000", (0, 0, 0))],
)
def test_metrics_of_an_order(order, expected):
    assert _metrics(np.array([c == "1" for c in order]), 4) == pytest.approx(expected)


def test_bm25_is_its_formula():
    one = ASKED["report"][0]
    items = one.items[:2]
    words = [[*item.key_text.lower().split(), *item.content.lower().strip(".#@").split()] for item in items]
    name = one.task.place.name
    n, mean = sum(name in w for w in words), sum(map(len, words)) / 2
    idf = math.log(1 + (2 - n + 0.5) / (n + 0.5))
    expected = [idf * w.count(name) * 2.5 / (w.count(name) + 1.5 * (0.25 + 0.75 * len(w) / mean)) for w in words]
    assert bm25(name, items) == pytest.approx(expected)


def test_the_embedders_own_order_and_a_perfect_one_bound_what_is_measured():
    asked = ASKED["report"]
    perfect = measure(asked, lambda task, items: [float(item.place in task) for item in items])
    assert perfect["recall3"].mean() == pytest.approx(best_recall3(asked))
    for scores in (as_found, by_chance, bm25, embedder_per_title(HashingEmbedder())):
        found = measure(asked, scores)
        assert all((found[metric] <= perfect[metric] + 1e-12).all() for metric in METRICS)
    assert measure(asked, as_found)["top1"].tolist() == [float(one.is_relevant[0]) for one in asked]
    assert measure(asked, lambda _, items: [0.0] * len(items))["mrr"] == pytest.approx(
        measure(asked, as_found)["mrr"]  # equal scores keep the embedder's order
    )


def report(*gains):
    """A report in which one ranker gains so much, wording by wording, on each question over an embedder that varies."""
    reference = np.linspace(0.1, 0.6, 16)
    sections = {}
    for wording, gain in zip(WORDINGS, gains, strict=True):
        found = {name: dict.fromkeys(METRICS, reference) for name in ("chance", "embedder")}
        found[CHOSEN] = dict.fromkeys(METRICS, reference + gain)
        sections[wording] = {"rankers": _compared(found, ASKED["report"])}
    return {"sections": sections}


def test_reranking_is_worth_it_only_where_the_interval_of_the_gain_is_above_zero_in_every_wording():
    unclear = np.random.default_rng(0).normal(0.02, 0.3, 16)
    assert is_worth_it(report(0.1, 0.2))
    for gains in [(0.0, 0.1), (0.1, 0.0), (0.1, -0.1), (-0.1, 0.1), (0.1, unclear), (unclear, 0.1)]:
        assert not is_worth_it(report(*gains))


def test_intervals_are_of_places_not_of_tasks():
    """Two tasks a place that say the same are one unit: twice as wide an interval (in variance) as independent ones."""
    values = np.repeat(np.arange(100) % 2, 2).astype(float)
    clustered = _estimate(values, [[2 * k, 2 * k + 1] for k in range(100)])
    alone = _estimate(values, [[k] for k in range(200)])
    assert clustered.n == 100
    assert clustered.se == pytest.approx(alone.se * 2**0.5, rel=0.1)
    assert _estimate(np.ones(20), [[k] for k in range(20)]).low < 0.9  # Wilson's: all right is not certainty


@pytest.mark.slow
def test_the_whole_study_small(tmp_path):
    run = quick_run("blockrank", tmp_path)
    claims = study(run)
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert [claim.model_dump(mode="json") for claim in claims] == found["claims"]
    assert found["n_places"] == 24
    assert found["chosen"] == max(found["development"], key=lambda row: row["recall3"])
    assert found["switch_on"] == is_worth_it(found)
    assert claims == claims_of(found, run.command)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert all(name in page for name in found["sections"]["as asked"]["rankers"])
    assert page.count("<svg") == 1

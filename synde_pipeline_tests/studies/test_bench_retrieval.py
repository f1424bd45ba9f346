"""The work of `synde bench retrieval`: everybody finds the same rows, and verdicts follow from the numbers."""

import sys
from pathlib import Path

import numpy as np
import pytest

from synde_pipeline.studies.bench import retrieval, retrieval_ours, retrieval_peers
from synde_pipeline.studies.bench.contest import Contestant, Entry, Round
from synde_pipeline.studies.bench.retrieval import K, contestants, write_rows
from synde_pipeline_tests.helpers import synde


def test_rows_are_unit_vectors_and_the_filter_keeps_about_an_eighth(tmp_path):
    truth, kept = write_rows(tmp_path, 4000, 20)
    vectors = np.load(tmp_path / "vectors.npy")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert 0.1 < kept < 0.14
    domains, days, asked = (np.load(tmp_path / f"{name}.npy") for name in ("domains", "days", "asked"))
    for rows, (domain, day) in zip(truth, asked, strict=True):
        assert len(rows) == K
        assert all(domains[row] == domain and days[row] <= day for row in rows)


def test_ours_lancedb_and_the_list_find_exactly_the_nearest_rows(tmp_path):
    truth, _ = write_rows(tmp_path, 3000, 8)
    for one in contestants(tmp_path):
        if not one.is_peer:
            module = retrieval_ours if one.name == "ours" else retrieval_peers
            run, _ = getattr(module, one.job)(one.words)
            facts = run()
            assert facts["found"] == truth, one.name
            assert len(facts["wall_ms"]) == 8


def entry(name: str, cpu_s: float, found: list[list[int]]) -> Entry:
    rounds = [Round(cpu_s, cpu_s, 1.0, 0.0, {"found": found, "wall_ms": [1.0, 3.0]})] * 3
    return Entry(Contestant(name, Path(), "job", {}), rounds if cpu_s else [])


def test_verdicts_take_lancedbs_best_path_and_say_what_was_not_measured():
    truth = [[1, 2, 3], [4, 5, 6]]
    entries = [
        entry("ours", 1.0, truth),
        entry("faiss_range", 0, truth),
        entry("lancedb_indexed_sorted", 14.0, [[1, 2, 9], [4, 5, 6]]),
        entry("lancedb_indexed", 16.0, [[1, 2, 9], [4, 5, 6]]),
        entry("lancedb_flat", 20.0, truth),
    ]
    extra = {one.contestant.name: retrieval._extra(one, truth) for one in entries}
    assert extra["lancedb_indexed_sorted"]["recall_at_3"] == pytest.approx(5 / 6, abs=1e-4)
    assert extra["ours"]["cpu_ms_per_query"] == 500
    verdicts = [target.verdict() for target in retrieval._targets("10k", entries, extra)]
    assert [(one["measured"], one["verdict"]) for one in verdicts] == [
        (14.0, "missed"),
        (None, "not measured"),
        (1.0, "met"),
    ]
    assert len(retrieval._targets("1M", entries, extra)) == 2


def test_a_size_of_another_bench_is_the_users_mistake(tmp_path):
    wrong = synde("bench", "retrieval", "--size", "small", home=tmp_path, check=False)
    assert wrong.returncode == 2
    assert "100k" in wrong.stderr


@pytest.mark.slow
def test_a_bench_of_every_contestant(tmp_path, monkeypatch):
    monkeypatch.setitem(retrieval.SIZES, "tiny", (2000, 5))
    result = retrieval.bench_retrieval("tiny", 1, Path(sys.executable)).for_json()
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["ours"]["recall_at_3"] == rows["lancedb_indexed"]["recall_at_3"] == 1.0
    assert "faiss" in rows["faiss_range"].get("unavailable", "faiss")
    assert result["work"]["interleaved"]

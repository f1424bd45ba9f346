"""The harness of `synde bench`: turns, one process each, what is measured, and peers that cannot run."""

import sys
from pathlib import Path

import pytest

from synde_pipeline.errors import BenchError
from synde_pipeline.studies.bench.contest import Contestant, Entry, Round, contest, paired
from synde_pipeline.studies.bench.result import Result, Target, text
from synde_pipeline_tests.studies import bench_jobs

JOBS = Path(bench_jobs.__file__)
HERE = Path(sys.executable)


def contestant(name: str, job: str, words: dict, **values) -> Contestant:
    return Contestant(name, JOBS, job, words, **values)


def entry(name: str, *cpu_s: float, versus: str | None = "ours") -> Entry:
    found = Entry(contestant(name, "noting", {}, versus=versus))
    found.rounds = [Round(value, 2 * value, 10.0 + value, value, {}) for value in cpu_s]
    return found


def test_contestants_run_in_turns_each_in_one_process_that_stays_alive(tmp_path):
    words = {"journal": str(tmp_path / "journal")}
    entries = contest([contestant(name, "noting", words | {"name": name}) for name in "abc"], 3)
    lines = [line.split() for line in (tmp_path / "journal").read_text().splitlines()]
    warm_up = [(name, what) for name in "abc" for what in ("prepared", "ran", "tidied")]
    turns = [(name, what) for name in "abc" for what in ("ran", "tidied")] * 3
    # a tidies while b's turn begins: order is certain within a contestant and between the starts of rounds
    assert [(name, what) for name, what, _ in lines if what == "ran"] == [t for t in warm_up + turns if t[1] == "ran"]
    for name in "abc":
        own = [(who, what) for who, what, _ in lines if who == name]
        assert own == [turn for turn in warm_up + turns if turn[0] == name]
    assert len({process for *_, process in lines}) == 3
    assert [len(item.rounds) for item in entries] == [3, 3, 3]
    assert entries[1].first == {"name": "b"}


def test_cpu_time_counts_children_and_nothing_but_the_round():
    jobs = [("alone", {"seconds": 0.2}), ("child", {"seconds": 0.2, "in_child": True}), ("idle", {"seconds": 0.0})]
    alone, child, idle = contest([contestant(name, "spinning", words) for name, words in jobs], 1)
    for item in (alone, child):  # the jobs themselves wait until so much CPU time is used: no assertion on the machine
        assert item.rounds[0].cpu_s >= 0.19
    assert idle.rounds[0].cpu_s < alone.rounds[0].cpu_s


def test_peak_memory_is_that_of_the_round_above_the_prepared_process():
    (held,) = contest([contestant("a", "holding", {"prepare_mb": 200, "mb": 40})], 2)
    for item in held.rounds:
        assert 39 < item.above_floor_mb < 60  # not the 200 MB of the preparation
        assert item.rss_mb > item.above_floor_mb


def test_what_a_library_prints_is_no_answer():
    (found,) = contest([contestant("a", "chattering", {"text": "welcome"})], 2)
    assert [item.facts for item in found.rounds] == [{"said": "welcome"}] * 2


def test_a_peer_that_cannot_run_says_why_and_how_to_help(tmp_path):
    words = {"journal": str(tmp_path / "journal"), "name": "ours"}
    contestants = [
        contestant("ours", "noting", words, versus=None),
        contestant("missing", "failing", {"at_once": True}, is_peer=True),
        contestant("unlucky", "failing", {"at_once": False}, is_peer=True),
    ]
    found = Result("test", "small", {}, contest(contestants, 2, HERE)).for_json()
    ours, missing, unlucky = found["rows"]
    assert ours["n"] == 2
    assert missing["unavailable"] == "ModuleNotFoundError: No module named 'no_such_package': make bench-setup"
    assert unlucky["unavailable"] == "RuntimeError: out of luck"
    assert unlucky["n"] == 0
    assert found["ratios"] == {}
    assert "unlucky: unavailable, RuntimeError: out of luck" in text(found)


def test_without_the_peers_environment_only_our_rows_have_numbers(tmp_path):
    words = {"journal": str(tmp_path / "journal"), "name": "x"}
    contestants = [
        contestant("ours", "noting", words, versus=None),
        contestant("peer", "noting", words, is_peer=True),
    ]
    ours, peer = contest(contestants, 1, tmp_path / "none" / "python")
    assert ours.rounds
    assert peer.unavailable == f"no peers' environment at {tmp_path / 'none' / 'python'}: make bench-setup"


def test_a_failure_of_our_own_is_an_error():
    with pytest.raises(BenchError, match="ours failed: RuntimeError: out of luck"):
        contest([contestant("ours", "failing", {"at_once": False})], 2)


def test_ratios_are_paired_within_a_round():
    # a busy second round slows both down: ratios of medians would say 3 / 1.5
    ours, peer = entry("ours", 1.0, 4.0, 1.5, versus=None), entry("peer", 3.0, 8.0, 3.0)
    assert paired(peer, ours) == (2.0, 2.0, 3.0)
    found = Result("test", "small", {}, [ours, peer]).for_json()
    assert found["ratios"] == {"peer_over_ours": 2.0}
    assert found["ratio_ranges"] == {"peer_over_ours": [2.0, 3.0]}
    row = {"name": "peer", "n": 3, "cpu_s": 3.0, "min": 3.0, "max": 8.0, "wall_s": 6.0, "rss_mb": 18.0}
    assert found["rows"][1] == row | {"above_floor_mb": 8.0}
    assert paired(peer, entry("ours")) is None


def test_verdicts_are_computed_from_thresholds():
    def verdict(measured, kind):
        return Target("x", measured, 2.5, kind).verdict()["verdict"]

    assert verdict(2.5, "at least") == verdict(2.5, "at most") == verdict(9.0, "at least") == "met"
    assert verdict(2.49, "at least") == verdict(2.51, "at most") == "missed"
    assert verdict(None, "at most") == "not measured"
    found = Result("test", "small", {"tokens": 7}, [entry("ours", 1.0)], targets=[Target("t", 3.0, 2.5, "at least")])
    assert "met: t: 3.0, wanted at least 2.5" in text(found.for_json())

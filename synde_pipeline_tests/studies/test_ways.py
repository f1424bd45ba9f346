"""Ways to learn: what they gain in a cell, and the table of them; how two studies split places and logs."""

import pytest

from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.studies.ablation import chunks, weighed
from synde_pipeline.studies.sharing import halves
from synde_pipeline.studies.ways import gained, levels


def arm(*successes: int) -> list[PlaceSums]:
    return [PlaceSums(f"site:{k}", hits, 10, 30, 0, 0.0) for k, hits in enumerate(successes)]


FOUND = {
    "plain": [{"weights": arm(2, 2), "dual": arm(4, 4)}, {"weights": arm(4, 4), "dual": arm(6, 6)}],
    "better": [{"weights": arm(5, 5), "dual": arm(4, 4)}, {"weights": arm(7, 7), "dual": arm(6, 6)}],
}


def test_a_way_gains_on_the_same_places_of_the_same_laboratories():
    assert gained(FOUND, "better", "plain", "weights").interval == pytest.approx((0.3, 0.3))
    assert gained(FOUND, "better", "plain", "dual").value == 0


def test_the_table_has_a_line_for_each_way_and_an_interval_for_each_cell():
    rows = levels(FOUND, "way")
    assert [list(row) for row in rows] == [["way", "weights", "weights, 95 %", "dual", "dual, 95 %"]] * 2
    assert [(row["way"], row["weights"], row["dual"]) for row in rows] == [
        ("plain", pytest.approx(0.3), pytest.approx(0.5)), ("better", pytest.approx(0.6), pytest.approx(0.5)),
    ]  # fmt: skip
    for row in rows:
        low, high = row["weights, 95 %"]
        assert low < row["weights"] < high


def test_both_agents_have_places_of_each_kind_and_none_in_common():
    scopes = [f"{kind}:{k}" for kind in ("site", "repository", "notebook") for k in range(4)]
    mine, other = halves(scopes)
    assert mine | other == set(scopes)
    assert not mine & other
    assert {scope.split(":")[0] for scope in mine} == {scope.split(":")[0] for scope in other}


def test_chunks_are_in_order_and_lose_nothing():
    rows = [{"trace_uid": f"sim:1-{day:04d}-{k:04d}"} for day in (3, 1, 2) for k in range(7)]
    found = chunks(rows)
    assert sum(map(len, found)) == 21
    assert [row["trace_uid"] for part in found for row in part] == sorted(row["trace_uid"] for row in rows)
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_only_what_is_avoided_weighs_more():
    row = {"trace_uid": "a", "weights": [0.0, 1.0, 2.0], "avoid": [False, False, True]}
    assert weighed(row, 0.5)["weights"] == [0.0, 1.0, 1.0]
    assert weighed(row, 1.0) == row

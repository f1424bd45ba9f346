"""What the studies `forgetting` and `cycles` say of runs made by hand, and what their ways have in common."""

import pytest

from synde_pipeline.settings import Settings
from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.studies import cycles_composed, forgetting, verdicts
from synde_pipeline.studies.compared import changed, show
from synde_pipeline.studies.cycles_composed import Plan, ways
from synde_pipeline.studies.guards import METHODS
from synde_pipeline.studies.lived import History
from synde_pipeline.studies.ways import gained
from synde_pipeline_tests.studies.study_runs import quick_run

GUARDED = "old logs 20 %"
SPREAD = (0.01, 0.0, -0.01)
"""Seeds differ, so that intervals over them are no points."""


def by_cell(**success: float) -> list:
    """Runs of three seeds, 200 tasks on each of two places in every cell."""
    return [
        {
            cell: [PlaceSums(f"site:{k}", round(200 * (value + by)), 200, 200, 0, 0.0) for k in range(2)]
            for cell, value in success.items()
        }
        for by in SPREAD
    ]


def learned(right_after: float, at_the_end: float, last: float, probe: float) -> list:
    keys = (forgetting.RIGHT_AFTER, forgetting.AT_THE_END, forgetting.LAST, forgetting.EVERY, forgetting.PROBE)
    return by_cell(**dict(zip(keys, (right_after, at_the_end, last, (at_the_end + last) / 2, probe), strict=True)))


# -- domains in turn ------------------------------------------------------------------------------------------------


@pytest.fixture
def domains():
    return {
        "base": learned(0.1, 0.1, 0.1, 0.97),
        "nothing": learned(0.9, 0.5, 0.9, 0.6),
        GUARDED: learned(0.9, 0.88, 0.8, 0.75),
        "EWC, K-FAC": learned(0.9, 0.7, 0.89, 0.9),
    }


def test_what_guards_keep_and_cost_is_judged_against_no_guard(tmp_path, domains):
    said = {one.id.split(".")[1]: one for one in forgetting.claimed(quick_run("forgetting", tmp_path), domains)}
    assert said["without"].measured == pytest.approx(-0.4)
    assert {name: said[name].verdict for name in ("without", "replay", "ewc_kfac", "isolation", "cost")} == {
        "without": verdicts.HOLDS, "replay": verdicts.HOLDS, "ewc_kfac": verdicts.NOT, "isolation": verdicts.NOT,
        "cost": verdicts.NOT,
    }  # fmt: skip
    assert said["general_replay"].measured == pytest.approx(0.15)
    assert said["general_replay"].verdict == verdicts.HOLDS
    assert "-0.220" in said["general_replay"].what  # less the base: better than nothing is not kept
    assert said["cost"].measured == pytest.approx(-0.1)  # the guard that costs most
    assert said["replay_or_ewc"].measured == pytest.approx(0.045)
    assert "both" not in said  # was not tried


def test_every_guard_has_a_claim_of_its_own():
    assert set(forgetting.CLAIMED) == set(METHODS) - {"nothing"}
    assert set(forgetting.QUICK) <= set(METHODS)
    assert len({name for name, *_ in forgetting.CLAIMED.values()}) == len(forgetting.CLAIMED)


# -- cycles ---------------------------------------------------------------------------------------------------------


def composed(right_after: float, first: float, last: float, probe: float) -> list:
    cells = cycles_composed
    values = {cells.FIRST: first, cells.LAST: last, cells.EVERY: (first + last) / 2, cells.PROBE: probe}
    return by_cell(**({cells.RIGHT_AFTER: right_after} if right_after else {}), **values)


def test_ways_to_compose_are_held_against_themselves_and_against_routed(tmp_path):
    cells = cycles_composed
    found = {
        "base": composed(0.0, 0.1, 0.1, 0.97),
        cells.ROUTED: composed(0.9, 0.9, 0.9, 0.97),
        cells.IN_TURN: composed(0.9, 0.88, 0.7, 0.9),
        cells.PRINTED: composed(0.9, 0.4, 0.9, 0.4),
        cells.JOINT: composed(0.0, 0.91, 0.91, 0.97),
        cells.BLIND: composed(0.9, 0.89, 0.5, 0.96),
        cells.SUMMED: composed(0.9, 0.3, 0.3, 0.3),
    }
    said = {one.id.split(".")[1]: one for one in cells.claimed(quick_run("cycles", tmp_path), found)}
    assert {name for name, one in said.items() if one.verdict == verdicts.HOLDS} == {
        "routed", "in_turn", "null_space", "joint",
    }  # fmt: skip
    assert {name for name, one in said.items() if one.verdict == verdicts.NOT} == {
        "printed", "summed", "skills", "in_turn_learns", "null_space_learns",
    }  # fmt: skip
    assert said["general"].verdict == verdicts.CONDITIONS  # some ways keep it
    assert said["general"].measured == pytest.approx(-0.67)


def test_all_ways_take_equally_many_steps():
    plan = Plan(n_cycles=3, training={"max_steps": 7})
    steps = {name: way.config.max_steps * (1 if way.last_only else 3) for name, way in ways(plan).items()}
    assert set(steps.values()) == {21}
    assert len({way.config.batch_size for way in ways(plan).values()}) == 1


def test_what_is_trained_in_a_branch_leaves_the_history_as_it_was(tmp_path):
    lived = History(Settings(home=tmp_path))
    logs = lived.settings.warehouse / "logs"
    logs.mkdir(parents=True)
    with lived.branch() as branch:
        assert (branch.settings.warehouse / "logs").is_dir()
        (branch.settings.warehouse / "adapters").mkdir()
    assert not branch.settings.warehouse.exists()
    assert list(lived.settings.warehouse.iterdir()) == [logs]


# -- the page -------------------------------------------------------------------------------------------------------


def test_the_page_has_every_way_and_a_dash_where_a_cell_is_missing(tmp_path):
    run = quick_run("cycles", tmp_path)
    found = {"base": by_cell(now=0.5), "guarded": by_cell(before=0.9, now=0.8)}
    assert changed(found, "guarded", "before", "now").value == pytest.approx(-0.1)
    assert gained(found, "guarded", "base", "now").value == pytest.approx(0.3)
    show(run, "Ways", "Success.", found, ("before", "now"))
    (section,) = run.sections
    assert [row["way"] for row in section.rows] == ["base", "guarded"]
    assert section.rows[0]["before"] == "-"
    assert section.rows[1]["before"].startswith("0.900 [")
    assert "guarded" in section.plots[0]
    assert run.numbers["levels"]["guarded"]["now"][0] == pytest.approx(0.8)

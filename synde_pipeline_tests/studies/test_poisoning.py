"""The poisoning study: attacks work where nothing guards, each guard stops what it is for, honest items stay."""

import pytest

from synde_pipeline.records import split_of
from synde_pipeline.studies import poisoning
from synde_pipeline.studies.poison_attacks import COVERT, FAMILIES, OVERT, credulous, honest_history
from synde_pipeline.studies.poisoning import ARMS, Row, measure
from synde_pipeline_tests.studies.study_runs import quick_run

N = 2
RUINS = {"tag_flood", "false_success"}


@pytest.fixture(scope="module")
def measured() -> tuple[dict[tuple[str, str], Row], list]:
    rows, honest = measure(N)
    return {(row.family, row.arm): row for row in rows}, honest


def test_every_family_meets_every_arm(measured):
    rows, honest = measured
    assert set(rows) == {(family.__name__, arm.name) for family in FAMILIES for arm in ARMS}
    assert all(row.n == N and 0 <= row.low <= row.through / row.n <= row.high <= 1 for row in rows.values())
    assert all(row.active > 20 for row in honest)


def test_without_guards_every_family_that_plants_gets_through(measured):
    rows, _ = measured
    planted = [row for row in rows.values() if row.arm == "nothing" and row.family not in RUINS]
    assert all(row.through == N for row in planted)
    assert rows["false_success", "nothing"].through == N


def test_what_one_task_says_is_shown_to_nobody_however_often_it_is_praised(measured):
    rows, _ = measured
    for arm in ARMS[1:]:
        assert rows["tool_result", arm.name].through == rows["forged_shown", arm.name].through == 0


def test_trust_that_names_the_good_sources_stops_everything(measured):
    rows, _ = measured
    assert {row.family: row.through for row in rows.values() if row.arm == "trust names the good"} == {
        family.__name__: 0 for family in FAMILIES
    }


def test_shutting_out_the_source_undoes_whatever_came_from_it_alone(measured):
    rows, _ = measured
    by_sybils = {"sybils", "mimicry_by_sybils"}
    for arm in ("a person's quarantine", "trust names the bad"):
        assert all(row.through == 0 for row in rows.values() if row.arm == arm and row.family not in by_sybils)


def test_more_guards_let_no_more_through_and_no_guard_shuts_out_an_honest_item(measured):
    rows, honest = measured
    for family in FAMILIES:
        through = [rows[family.__name__, arm].through for arm in ("k tasks", "heuristics too", "trust names the bad")]
        assert through == sorted(through, reverse=True)
    assert all(row.shut_out == 0 for row in honest)
    assert all(row.good_lost == 0 for row in rows.values() if row.family not in RUINS)


def test_attacks_are_read_at_all_and_differ():
    assert len({*OVERT, *COVERT}) == len(OVERT) + len(COVERT) == 2 * poisoning.N
    good = []
    for family in FAMILIES:
        if family.__name__ in RUINS:
            continue
        first, second = family(0, good), family(1, good)
        assert first.payload != second.payload
        assert all(split_of(run.task_id) == "train" for run in first.runs)
        assert len({run.trace_uid for run in first.runs}) == len(first.runs)
    said = [lesson for run in honest_history() for lesson in credulous(run).lessons]
    assert not any(lesson.suspect for lesson in said)


@pytest.mark.slow
def test_a_defence_is_said_to_hold_only_if_it_stops_every_family(tmp_path):
    run = quick_run("poisoning", tmp_path)
    claims = {claim.id.partition(".")[2]: claim for claim in poisoning.study(run)}
    assert list(claims) == [arm.name.replace(" ", "-") for arm in ARMS[1:]]
    for claim in claims.values():
        rows = [row for row in run.numbers["rows"] if row["arm"].replace(" ", "-") == claim.id.partition(".")[2]]
        through = {row["family"].replace("_", " ") for row in rows if row["low"] > poisoning.STOPPED}
        assert claim.verdict == ("does not hold" if through else "not shown")  # four attacks are too few to show it
        assert set(claim.what.partition("through: ")[2].split(", ")) == (through or {"none"})

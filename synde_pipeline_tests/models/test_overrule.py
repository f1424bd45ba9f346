"""A person's word on the champion: later cycles stand on what is served, and what was decided before stays done."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synde_pipeline.base_model import load
from synde_pipeline.errors import InputError, LineageError
from synde_pipeline.evaluation.due import due_cycles, standing
from synde_pipeline.evaluation.gate import decide
from synde_pipeline.evaluation.report import publish
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.bank import candidate_bank, champion_bank, rows_of
from synde_pipeline.models.compose import ADAPTERS, Entry, ledger_before
from synde_pipeline.models.merge import MERGED, merge_cycle
from synde_pipeline.models.overrule import carry_out, history_rows, promotion, rollback
from synde_pipeline.models.registry import FILE, champion
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.evaluation.test_report import report
from synde_pipeline_tests.helpers import DAY, gate
from synde_pipeline_tests.models.test_bank import SETTINGS, frozen, trained
from synde_pipeline_tests.models_for_tests import pin_tiny

SEQUENTIAL = SETTINGS.model_copy(update={"training": TrainingConfig(composition="sequential", epochs=1)})


def judged(warehouse, cycle, *, passed: bool):
    """Publish a report of the cycle's model, and let the gate decide on it."""
    evidence = {"gate": gate(warehouse, passed=passed)}
    publish(warehouse, cycle.key, report() | evidence, {MERGED: warehouse.header(MERGED, cycle.key).content_hash})
    return decide(warehouse, cycle, load(warehouse).hash)


def promote(warehouse, cycle, reason=""):
    return carry_out(warehouse, promotion(warehouse, cycle.key), reason)


def go_back(warehouse, **words):
    return carry_out(warehouse, rollback(warehouse, **words), "")


def serving(warehouse) -> str | None:
    served = champion(warehouse).domains.get("library")
    return served.cycle[-1] if served else None


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """Four routed cycles that passed, the third with all that the first had learned, and one that nobody judged."""
    warehouse = Warehouse(tmp_path_factory.mktemp("life") / "warehouse")
    pin_tiny(warehouse)
    made = []
    for k, scopes in enumerate(["ab", "cd", "ae", "f"]):
        made.append(trained(warehouse, DAY + timedelta(k), *[f"site:{one}" for one in scopes])[0])
        judged(warehouse, made[-1], passed=True)
    made.append(trained(warehouse, DAY + timedelta(9), "site:g")[0])
    return warehouse, made


@pytest.fixture
def four(life):
    warehouse, made = life
    before = (warehouse.root / FILE).read_bytes()
    yield warehouse, made
    (warehouse.root / FILE).write_bytes(before)


def test_going_back_step_by_step_ends_at_the_base_and_can_be_taken_back(four):
    warehouse, made = four
    assert serving(warehouse) == "4"
    for expected in ("3", "2", "1", None):
        go_back(warehouse)
        assert serving(warehouse) == expected
    with pytest.raises(InputError, match="0 domains have a champion"):
        rollback(warehouse)
    promote(warehouse, made[2], "it was the site's fault")
    assert serving(warehouse) == "3"
    last = champion(warehouse).history[-1]
    assert (last.by, last.accepted, last.reason) == ("person", True, "promoted by a person: it was the site's fault")
    assert [one.cycle[-1] for one in last.restored] == ["2"]
    go_back(warehouse)
    assert serving(warehouse) is None


def test_one_may_go_back_to_any_champion_of_the_past_and_to_nothing_else(four):
    warehouse, _ = four
    go_back(warehouse, to="library-0001")
    assert [one.cycle[-1] for one in champion(warehouse).history[-1].withdrawn] == ["2", "3", "4"]
    go_back(warehouse, domain="library", to="library-0003")
    assert serving(warehouse) == "3"
    for words, match in (
        ({"to": "library-0005"}, "library-0005 never was the champion of library; expected one of library-0001"),
        ({"to": "archive-0001"}, "nothing is served in domain 'archive'"),
        ({"domain": "archive"}, "nothing is served in domain 'archive'"),
    ):
        with pytest.raises(InputError, match=match):
            rollback(warehouse, **words)
    with pytest.raises(LineageError, match="library-0009"):
        promotion(warehouse, "library-0009")
    rows = history_rows(champion(warehouse))
    assert [row["serves"] for row in rows] == [False, False, True, False, False, True]
    assert [one[-1] for one in rows[-1]["withdrawn"]] == ["1"]  # the third holds all of it
    assert rows[-2]["withdrawn"] == ["library-0002", "library-0003", "library-0004"]
    assert {row["by"] for row in rows} == {"gate", "person"}


def test_a_move_that_was_planned_on_another_champion_is_refused(four):
    warehouse, _ = four
    planned = rollback(warehouse)
    go_back(warehouse, to="library-0002")
    raw = (warehouse.root / FILE).read_bytes()
    with pytest.raises(LineageError, match="which this was decided on"):
        carry_out(warehouse, planned, "")
    again = promotion(warehouse, "library-0002")
    assert again.is_done
    carry_out(warehouse, again, "twice")
    assert (warehouse.root / FILE).read_bytes() == raw


def test_what_cannot_be_served_is_not_promoted(four):
    warehouse, _ = four
    planned = rollback(warehouse, to="library-0002")
    raw = (warehouse.root / FILE).read_bytes()
    folder = warehouse.folder(ADAPTERS, "library-0001")
    folder.rename(folder.with_name("aside"))
    with pytest.raises((LineageError, FileNotFoundError)):
        carry_out(warehouse, planned, "")
    folder.with_name("aside").rename(folder)
    assert (warehouse.root / FILE).read_bytes() == raw


moves = st.lists(st.tuples(st.sampled_from(["promote", "back", "to"]), st.integers(0, 3)), max_size=7)


@given(moves)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_person_does_the_next_cycle_stands_on_what_is_served_and_nothing_is_done_again(four, drawn):
    warehouse, made = four
    before = (warehouse.root / FILE).read_bytes()
    base = load(warehouse).hash
    line: list[int] = [0, 1, 2, 3]
    try:
        for word, k in drawn:
            if word == "promote" or (word == "to" and line):
                promote(warehouse, made[k]) if word == "promote" else go_back(warehouse, to=made[k].key)
                line = [*line[: line.index(k)], k] if k in line else [*line, k]
            elif word == "back" and line:
                go_back(warehouse)
                line.pop()
            assert serving(warehouse) == (made[line[-1]].key[-1] if line else None)
            served = champion(warehouse).domains.get("library")
            entries = [Entry(item.cycle, item.adapter) for item in served.adapters] if served else []
            own = Entry(made[4].key, warehouse.header(ADAPTERS, made[4].key).content_hash)
            assert candidate_bank(warehouse, made[4], base) == rows_of(warehouse, [*entries, own])
            assert champion_bank(warehouse, base) == rows_of(warehouse, entries)
            assert [cycle.key for cycle in due_cycles(warehouse)] == [made[4].key]
            assert standing(warehouse).rejected == frozenset()
    finally:
        (warehouse.root / FILE).write_bytes(before)


def test_a_new_ledger_leaves_out_what_was_rolled_back_and_what_stood_on_it(warehouse):
    pin_tiny(warehouse)
    made = []
    for k, passed in enumerate((True, True, False)):
        made.append(trained(warehouse, DAY + timedelta(k), "site:a", config=SEQUENTIAL)[0])
        judged(warehouse, made[-1], passed=passed)
    assert standing(warehouse).rejected == {made[2].key}
    promote(warehouse, made[2])
    assert [item.cycle for item in champion(warehouse).domains["library"].adapters] == [one.key for one in made]
    go_back(warehouse, to=made[0].key)
    assert due_cycles(warehouse) == []
    last = frozen(warehouse, DAY + timedelta(5), "site:b", config=SEQUENTIAL)
    assert [entry.cycle for entry in ledger_before(warehouse, last, load(warehouse).hash)] == [made[0].key]
    train_cycle(warehouse, last, SEQUENTIAL.training)
    assert [row["cycle"] for row in merge_cycle(warehouse, last).info["adapters"]] == [made[0].key, last.key]
    assert due_cycles(warehouse) == [last]

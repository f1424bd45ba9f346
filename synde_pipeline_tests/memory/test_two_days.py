"""A uid that lies in two days, because one of them is stale: notes and the memory's ledger listen to the same one."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.ledger import Ledger
from synde_pipeline.memory.notebook import runs_of
from synde_pipeline.records import Reflection
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.memory.test_notebook import run_of


def lying(found) -> list[tuple[date, Reflection]]:
    """Runs of a uid on a day, each with a path of its own, known some days later."""
    return [
        (day, run_of(uid, day=day, did_look=True).model_copy(update={"effective_day": known, "path": (str(day),)}))
        for (uid, day), known in found.items()
    ]


def at(k: int) -> date:
    return DAY + timedelta(days=k)


def spoken(runs, as_of: date) -> set[tuple[str, str]]:
    """Uid and path of what the ledger of memory listens to as of a day."""
    ledger = Ledger.of(delta for day, run in runs for delta in deltas_of(run, day))
    rows = [row for domain in ledger.domains.values() for row in domain.rows]
    known = [row.delta for row in rows if row.delta.op == "EVIDENCE" and row.effective_day <= as_of]
    return {(delta.trace_uid, delta.path[0]) for delta in known}


@given(
    st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 3).map(at)), st.integers(0, 3), max_size=8),
    st.integers(0, 6).map(at),
    st.randoms(use_true_random=False),
)
def test_notes_and_ledger_listen_to_the_day_known_first_and_to_nothing_that_is_not_known_yet(delays, as_of, chance):
    runs = lying({(uid, day): day + timedelta(days=n) for (uid, day), n in delays.items()})
    known = [(day, run) for day, run in runs if run.effective_day <= as_of]
    heard = {(run.trace_uid, run.path[0]) for run in runs_of(chance.sample(runs, len(runs)), as_of)}
    assert heard == spoken(runs, as_of) == spoken(known, as_of)
    assert {uid for uid, _ in heard} == {run.trace_uid for _, run in known}


def test_a_label_that_comes_late_to_an_earlier_day_silences_no_run_that_was_known_before():
    runs = lying({(0, at(0)): at(5), (0, at(1)): at(1)})
    assert spoken(runs, at(2)) == spoken(runs, at(6)) == {("test:0", str(at(1)))}
    same = lying({(0, at(1)): at(5), (0, at(0)): at(5)})
    assert [run.path for run in runs_of(same, at(5))] == [(str(at(0)),)]

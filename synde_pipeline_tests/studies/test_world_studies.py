"""Studies of the worlds: their pure parts on histories made by hand, and (slow) each of them, quick, on one home."""

import pytest
from markupsafe import escape

from synde_pipeline.records.trajectory import Trajectory
from synde_pipeline.settings import PromptConfig, SimulationConfig
from synde_pipeline.simulation.acting import PlaceSums
from synde_pipeline.simulation.agent import Run, Turn
from synde_pipeline.simulation.tasks import held_out_tasks, places
from synde_pipeline.studies import verdicts
from synde_pipeline.studies.case_arms import KNOWN, N_EXAMPLES, ExamplesEncoder, by_place, nearest, varied
from synde_pipeline.studies.compounding import early_and_late, thirds
from synde_pipeline.studies.drift import lag
from synde_pipeline.studies.longitudinal import Day, opened, satisfaction, score, users, window
from synde_pipeline.studies.registry import study_of
from synde_pipeline.studies.study import render
from synde_pipeline_tests.studies.study_runs import quick_run

WORLDS = ("parity", "synergy", "compounding", "case_study", "scaling", "drift", "forgetting", "cycles")
ARMS = ("none", "context", "weights", "dual")
CONFIG = SimulationConfig(places=8)


def day(number: int, dual: int, n_places: int = 2, scores: tuple[float, ...] = ()) -> Day:
    """Ten tasks a place; `dual` of them solved at each by every arm."""
    rows = [PlaceSums(f"site:{k}", dual, 10, 50, 20, 0.0) for k in range(n_places)]
    return Day(number, dict.fromkeys(ARMS, rows), {"site:0": scores}, dual, 10, 5, 50, 100, 200, 1)


# -- histories ------------------------------------------------------------------------------------------------------


def test_users_give_nothing_for_failures_and_less_for_detours():
    assert score(7, CONFIG, is_success=False) == 0
    assert [score(n, CONFIG, is_success=True) for n in (5, 6, 7)] == [1.0, 0.75, 0.5]
    days = [day(1, 0, scores=(0.0, 1.0)), day(2, 0, scores=(0.5,))]
    assert satisfaction(days) == 0.5
    assert users(days, days[:1]) == [(1.0, 2.0), (0.0, 0.0)]


def test_places_open_once_and_windows_have_a_row_for_each():
    days = [day(1, 3), day(2, 5, n_places=3)]
    assert opened(days) == {"site:0": 1, "site:1": 1, "site:2": 2}
    rows = window(days, days[:1], "dual")
    assert [(row.scope, row.n_success, row.n_tasks) for row in rows] == [
        ("site:0", 3, 10), ("site:1", 3, 10), ("site:2", 0, 0),
    ]  # fmt: skip
    young = window(days, days, "dual", lambda one, scope: one.number == 2 and scope == "site:2")
    assert [row.n_success for row in young] == [0, 0, 5]


def test_forgetting_compares_equally_many_days_at_the_first_places():
    days = [day(number, 8 if number < 20 else 5, n_places=1 + number) for number in range(1, 31)]
    assert [[d.number for d in part] for part in thirds(days)] == [list(range(1, 11)), list(range(21, 31))]
    early, late = early_and_late(days, "weights")
    assert sum(row.n_tasks for row in early) == sum(row.n_tasks for row in late) == 7 * 2 * 10
    assert sum(row.n_success for row in early) == 7 * 2 * 8
    assert sum(row.n_success for row in late) == 7 * 2 * 5


@pytest.mark.parametrize(("after", "expected"), [((9, 9, 9), 0), ((4, 8, 9), 2), ((4, 9, 2), 1), ((4, 5, 6), None)])
def test_the_lag_counts_days_of_new_conventions(after, expected):
    # Conventions change on day 4: what is tried after day 3 has the new ones, after day 2 the old ones.
    days = [day(1, 9), day(2, 9), *(day(3 + k, hits) for k, hits in enumerate(after))]
    assert lag(days, "dual", 4) == expected


# -- the case study -------------------------------------------------------------------------------------------------

(TASK,) = held_out_tasks([place for place in places(CONFIG, 1) if place.world.domain == "web"][:1], "report", 1, 2)
RIGHT = {stage.tool: TASK.place.right_option(stage, TASK.day) for stage in TASK.stages}


def acted(*turns: tuple[str, str]) -> Run:
    run = Run(TASK, (), 0)
    run.turns += [Turn("", "", tool, option, "", RIGHT.get(tool) == option) for tool, option in turns]
    return run


def wrong(tool: str) -> list[str]:
    (stage,) = (stage for stage in TASK.stages if stage.tool == tool)
    return [option for option in stage.options if option != RIGHT[tool]]


def test_retries_with_another_option_are_told_from_repetitions():
    one, other = wrong("extract")[:2]
    run = acted(("extract", one), ("extract", other), ("extract", one), ("extract", RIGHT["extract"]), ("finish", "x"))
    assert varied(run) == [1.0, 0.0, 1.0]
    assert varied(acted(("extract", one))) == []  # nothing follows


def test_the_first_action_of_a_stage_is_what_counts():
    run = acted(("nav", RIGHT["nav"]), ("extract", wrong("extract")[0]), ("extract", RIGHT["extract"]))
    assert KNOWN["right way first"](run) == [1.0]
    assert KNOWN["right selector first"](run) == [0.0]
    assert KNOWN["right selector first"](acted()) == []
    needed = "verify" if RIGHT["finish"] == "verify" else "report"
    looks = {"verify": "verify first where needed", "report": "verify first where needless"}
    verified = acted(("finish", "verify"))
    assert KNOWN[looks[needed]](verified) == [1.0]
    assert KNOWN[looks["report" if needed == "verify" else "verify"]](verified) == []
    assert by_place([run, run, acted()], KNOWN["right way first"]) == [(2.0, 2.0)]


def log(uid: str, scope: str) -> Trajectory:
    return Trajectory.model_construct(trace_uid=uid, scope=scope)


def test_examples_are_of_the_place_first_and_newer_before_older():
    logs = [log("a", "site:x"), *(log(str(k), "site:y") for k in range(6)), log("b", "site:x")]
    assert [one.trace_uid for one in nearest(logs, "site:x")] == ["3", "4", "5", "a", "b"]
    assert len(nearest(logs, "site:z")) == N_EXAMPLES
    assert nearest([], "site:x") == []


def test_examples_stand_before_the_task_and_count_as_context():
    from transformers import AutoTokenizer

    from synde_pipeline.simulation.demo import EMBEDDED_BASE

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_BASE)
    encoder = ExamplesEncoder(tokenizer, PromptConfig(), {TASK.text: [7, 8, 9]})
    plain = ExamplesEncoder(tokenizer, PromptConfig(), {}).prompt("web", TASK.text, ())
    shown = encoder.prompt("web", TASK.text, ())
    assert shown.ids == [7, 8, 9, *plain.ids]
    assert (shown.n_context_tokens, plain.n_context_tokens) == (3, 0)


# -- whole studies --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One home, so that studies share what was lived."""
    return tmp_path_factory.mktemp("studies")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_a_quick_study_says_what_it_measured(home, name):
    run = quick_run(name, home)
    claims = study_of(name)(run)
    assert len({claim.id for claim in claims}) == len(claims) > 0
    known = {getattr(verdicts, word) for word in ("HOLDS", "EXACTLY", "CONDITIONS", "NOT", "UNDECIDED", "NOT_RUN")}
    for claim in claims:
        assert claim.verdict in known, claim
        if claim.measured is None:
            assert (claim.error, claim.n, claim.verdict) == (None, 0, verdicts.NOT_RUN)
            assert claim.what
        else:
            low, high = claim.error
            assert low <= claim.measured <= high
            assert claim.n > 0
            assert "n counts" in claim.what
    page = render(run, claims)
    assert all(str(escape(section.heading)) in page for section in run.sections)
    assert run.numbers
    again = quick_run(name, home)
    assert study_of(name)(again) == claims  # nothing is measured twice
    assert [section.rows for section in again.sections] == [section.rows for section in run.sections]


def test_every_study_of_a_world_is_known():
    assert all(callable(study_of(name)) for name in WORLDS)

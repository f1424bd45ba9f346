"""The rule reflector reads one trajectory alone and always says the same."""

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.records import Reflection
from synde_pipeline.reflection.rules import error_pattern, reflect, where_it_turned
from synde_pipeline.simulation.worlds.base import ANSWER, Episode, Place, Rules, Task
from synde_pipeline.simulation.worlds.registry import WORLDS
from synde_pipeline_tests.helpers import called, trajectories, trajectory

NOT_FOUND = "Error: card 4711-22 not found"


@given(trajectories())
def test_every_valid_trajectory_gets_a_valid_reflection_and_always_the_same(item):
    first = reflect(item)
    assert Reflection.model_validate_json(first.model_dump_json()) == first == reflect(item)
    assert first.error_step is None or item.outcome == "failure"


def test_an_error_mended_by_other_arguments_names_the_argument_that_changed():
    item = trajectory(
        steps=called(
            ("find_member", {"card": "4711-22", "desk": "a"}, NOT_FOUND, False),
            ("find_member", {"card": "4711-23", "desk": "a"}, "member m1", True),
        )
    )
    (lesson,) = reflect(item).lessons
    assert lesson.scope == "tool:find_member"
    assert lesson.title == "find_member: error: card ... not found"
    assert lesson.content == "Calling find_member again with a different card worked."


def test_an_error_mended_by_another_tool_names_that_tool_and_never_a_scratch_pad():
    item = trajectory(
        steps=called(
            ("find_by_card", {"card": "1"}, NOT_FOUND, False),
            ("think", {"thought": "hm"}, "", True),
            ("find_by_name", {"name": "Ada"}, "member m1", True),
        )
    )
    assert [lesson.content for lesson in reflect(item).lessons] == ["Turning to find_by_name worked."]


def test_a_call_repeated_unchanged_after_it_failed_is_a_pitfall():
    item = trajectory(
        outcome="failure",
        steps=called(("renew", {"loan": "x"}, NOT_FOUND, False), ("renew", {"loan": "x"}, NOT_FOUND, False)),
    )
    found = reflect(item)
    assert found.n_repeated_failures == 1
    assert [lesson.title for lesson in found.lessons] == ["renew was repeated unchanged after it failed"]


def test_a_failed_run_turned_at_its_last_unmended_error():
    steps = called(
        ("find", {"card": "1"}, NOT_FOUND, False),
        ("find", {"card": "2"}, "m1", True),
        ("renew", {"loan": "x"}, "Error: fine is due", False),
        ("reply", "sorry", "", None),
    )
    assert where_it_turned(trajectory(outcome="failure", steps=steps)) == 2
    assert where_it_turned(trajectory(outcome="success", steps=steps)) is None


def test_a_failed_run_without_errors_turned_at_its_last_tool_call():
    steps = called(("find", {}, "m1", True), ("renew", {}, "done", True), ("reply", "bye", "", None))
    assert where_it_turned(trajectory(outcome="failure", steps=steps)) == 1


def test_literals_are_taken_out_of_error_messages_so_that_equal_causes_read_equal():
    one = error_pattern("Error: payment amount does not add up, total price is 140, but paid 120")
    two = error_pattern("Error: Payment amount does not add up, total price is 9, but paid 3")
    assert one == two == "error: payment amount does not add up, total price is ..., but paid ..."
    assert error_pattern('Error: item "Blue lamp" is gone') == "error: item ... is gone"


# -- runs at a place ---------------------------------------------------------------------------------------------------


def at_zormek(*calls) -> list[tuple[str, str, str]]:
    """What a run at a place teaches: (kind, tool, arguments). Its task reads `please do t1`."""
    found = reflect(trajectory(scope="site:zormek", steps=called(*calls))).lessons
    assert {lesson.scope for lesson in found} <= {"site:zormek"}
    return [(lesson.kind, lesson.title, lesson.content) for lesson in found]


def test_a_run_at_a_place_teaches_what_works_there_and_what_does_not():
    found = at_zormek(("nav", "search", "empty nav", False), ("nav", "browse", "open extract", True))
    assert found == [("pitfall", "nav", "search"), ("strategy", "nav", "browse")]


def test_only_runs_at_a_place_teach_calls_and_they_teach_nothing_else():
    steps = called(("nav", "search", NOT_FOUND, False), ("nav", "search", NOT_FOUND, False), ("nav", "map", "ok", True))
    assert {lesson.scope for lesson in reflect(trajectory(steps=steps)).lessons} == {"tool:nav"}
    at_place = reflect(trajectory(steps=steps, scope="site:zormek"))
    assert [lesson.title for lesson in at_place.lessons] == ["nav", "nav"]
    assert at_place.n_repeated_failures == 1


def test_a_call_that_timed_out_and_worked_when_repeated_is_no_pitfall():
    found = at_zormek(("nav", "browse", "timeout nav", False), ("nav", "browse", "open extract", True))
    assert found == [("strategy", "nav", "browse")]


def test_a_call_of_which_the_log_does_not_say_whether_it_worked_teaches_nothing():
    assert at_zormek(("nav", "browse", "open extract", None)) == []


def test_what_was_copied_from_the_task_or_an_observation_is_no_convention():
    assert at_zormek(("find", "t1", "ok", True)) == []
    assert at_zormek(("find", {"id": 7, "card": "t1"}, "ok", True)) == []
    assert at_zormek(("extract", ".price", "found 17.42 answer", True), ("answer", "17.42", "accepted", True)) == [
        ("strategy", "extract", ".price")
    ]


def test_a_word_is_copied_only_whole():
    assert at_zormek(("locale", "eas", "set", True), ("find", "lease", "ok", True), ("find", "ok", "ok", True)) == [
        ("strategy", "locale", "eas"),  # `please` holds both
        ("strategy", "find", "lease"),
    ]


def test_arguments_that_the_error_message_quotes_were_not_copied_from_it():
    failed, worked = ("nav", "search", "Error: search is off here", False), ("nav", "search", "open extract", True)
    assert at_zormek(failed, failed) == [("pitfall", "nav", "search")]
    assert at_zormek(failed, worked) == [("strategy", "nav", "search")]


def test_a_call_that_worked_once_and_failed_later_works():
    found = at_zormek(("next", "page", "", True), ("next", "page", "no more", False))
    assert found == [("strategy", "next", "page")]


def test_replies_long_arguments_and_calls_without_arguments_are_no_conventions():
    assert at_zormek(("reply", "sorry", "", True), ("find", "x" * 41, "", True), ("next", {}, "", True)) == []
    assert at_zormek(("find", {"engine": "exact"}, "", True)) == [("strategy", "find", '{"engine":"exact"}')]


@given(st.sampled_from(list(WORLDS.values())), st.integers(0, 10**6), st.randoms())
def test_in_every_world_a_run_teaches_each_option_that_it_tried_and_no_answer(world, number, random):
    place = Place(world, "zormek", number, Rules(6, transient_rate=0.3, decoy_rate=0.3))
    episode = Episode(Task(place, random.choice(world.things), number))
    state, calls = episode.observation, []
    while not episode.is_over:
        stage = next((stage for stage in world.stages if stage.tool == state.split()[-1]), None)
        shown = [word for *_, result, _ in calls for word in result.split() if "." in word]
        tool, arguments = (stage.tool, random.choice(stage.options)) if stage else (ANSWER, shown[-1])
        reply = episode.act(tool, arguments)
        calls.append((tool, arguments, reply.result, reply.success))
        state = reply.result
    item = trajectory(domain=world.domain, scope=place.scope, steps=called(*calls))
    taught = {(lesson.title, lesson.content): lesson.kind == "strategy" for lesson in reflect(item).lessons}
    tried = [call for call in calls if call[0] != ANSWER]
    assert taught == {call[:2]: any(c[3] for c in tried if c[:2] == call[:2]) for call in tried}

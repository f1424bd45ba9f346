"""The rule reflector reads one trajectory alone and always says the same."""

from hypothesis import given

from synde_pipeline.records import Reflection
from synde_pipeline.reflection.rules import error_pattern, reflect, where_it_turned
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

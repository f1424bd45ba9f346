"""What a run is where its spans overlap, lack something, or say a thing twice."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.importers.base import REFUSED, parse_time
from synde_pipeline.logs.importers.span_runs import conversation_of_spans
from synde_pipeline.logs.importers.spans import Span, fullest, once
from synde_pipeline.records import REPLY
from synde_pipeline_tests.logs.junk import any_json, steps_of

T0 = datetime(2025, 3, 1, tzinfo=UTC)
USER = {"role": "user", "content": "Water beds 3 and 4."}


def span(number, kind, start, end, asked=None, answered=None, name="", parent=0, **more):
    at, until = T0 + timedelta(seconds=start), T0 + timedelta(seconds=end)
    return Span(f"s{number}", f"s{parent}", kind, name, asked, answered, at, until, **more)


def calling(*calls, text=None):
    """An answer that calls tools, given as (id, tool, arguments)."""
    each = [{"id": key, "function": {"name": name, "arguments": values}} for key, name, values in calls]
    return {"role": "assistant", "content": text, "tool_calls": each}


def told(key, text):
    return {"role": "tool", "tool_call_id": key, "content": text}


WATER = calling(("a", "water", '{"bed": 3}'), ("b", "water", '{"bed": 4}'))
DONE = {"role": "assistant", "content": "Done."}
FIRST = span(1, "model", 0, 1, [USER], WATER)
LAST = span(9, "model", 8, 9, [USER, WATER, told("a", "wet"), told("b", "no hose")], DONE)
STEPS = [
    ("", "", "water", '{"bed":3}', "wet", None),
    ("", "", "water", '{"bed":4}', "no hose", None),
    ("wet\nno hose", "", REPLY, "Done.", "", None),
]


def steps(*spans, **more):
    return steps_of(conversation_of_spans(spans, **more))


def test_calls_of_one_tool_get_their_own_results_whichever_begins_and_ends_first():
    fast = span(2, "tool", 2, 3, {"bed": 4}, "no hose", "water")
    slow = span(3, "tool", 2.5, 5, {"bed": 3}, "wet", "water")
    assert steps(FIRST, fast, slow, LAST) == STEPS


def test_a_tool_that_begins_before_its_models_span_ends_is_the_models_call():
    early = span(2, "tool", 0.5, 3, {"bed": 3}, "wet", "water", ok=True)
    found = steps(FIRST, early, LAST)
    assert [(one[2], one[3], one[5]) for one in found] == [
        ("water", '{"bed":3}', True),
        ("water", '{"bed":4}', None),
        (REPLY, "Done.", None),
    ]


def test_a_result_that_a_tools_span_does_not_hold_is_in_the_next_input():
    silent = [span(2, "tool", 2, 3, {"bed": 4}, None, "water", ok=False), span(3, "tool", 2, 3, None, None, "water")]
    found = steps(FIRST, *silent, LAST)
    assert [one[4:] for one in found] == [("wet", None), ("no hose", False), ("", None)]


def test_ids_that_a_log_uses_again_in_each_turn_mean_the_last_call():
    again = calling(("a", "water", '{"bed": 5}'))
    second = span(5, "model", 4, 5, [USER, WATER, told("a", "wet"), told("b", "no hose")], again)
    history = [USER, WATER, told("a", "wet"), told("b", "no hose"), again, told("a", "dry")]
    third = span(6, "model", 6, 7, history, DONE)
    assert [one[4] for one in steps(FIRST, second, third)] == ["wet", "no hose", "dry", ""]


def test_what_calls_did_whose_spans_are_lost_is_told_by_the_history():
    assert steps(LAST) == STEPS
    assert steps(span(1, "model", 0, 1, [USER], None), LAST) == STEPS


def test_a_framework_that_cuts_its_own_words_in_the_history_has_said_them_once():
    words = "I shall look after bed 3 first and after bed 4 then, as the user told me to do it." + " So be it." * 9
    more = {"role": "user", "content": "Go on."}
    first = span(1, "model", 0, 1, [USER], {"role": "assistant", "content": words})
    second = span(2, "model", 2, 3, [USER, {"role": "assistant", "content": words[:100]}, more], DONE)
    assert steps(first, second) == [("", "", REPLY, words, "Go on.", None), ("Go on.", "", REPLY, "Done.", "", None)]


def test_a_span_around_a_tools_own_is_not_the_tool():
    chain = span(2, "other", 2, 5, {"bed": 3}, "soon", "water")
    tool = span(3, "tool", 2, 4, {"bed": 3}, "wet", "water", parent=2)
    assert steps(FIRST, chain, tool, LAST) == STEPS


def test_what_a_judge_asked_and_did_is_none_of_the_run():
    judge = span(4, "judge", 3, 4)
    under = [
        span(5, "other", 3, 4, parent=4),
        span(6, "model", 3, 4, [{"role": "user", "content": "Fair?"}], DONE, parent=5),
        span(7, "tool", 3, 4, {}, "x", "rate", parent=6),
    ]
    assert steps(FIRST, judge, *under, LAST) == STEPS


def test_a_trace_in_which_no_model_speaks_is_what_its_root_was_asked_and_answered():
    talk = conversation_of_spans([span(1, "tool", 1, 2, {"bed": 3}, "wet", "water")], {"task": "Water."}, "Done.")
    assert talk.task == "Water."
    assert steps_of(talk) == [("", "", "water", '{"bed":3}', "wet", None), ("wet", "", REPLY, "Done.", "", None)]


def test_without_any_task_there_is_no_run_unless_one_is_given_for_it():
    with pytest.raises(ValueError, match="no user turn"):
        conversation_of_spans([span(1, "model", 0, 1, None, DONE)])
    assert conversation_of_spans([span(1, "model", 0, 1, None, DONE)], untold="?").task == "?"


def test_of_several_versions_of_a_span_the_one_that_says_most_is_left_in_whatever_order():
    short, long, other = {"id": "a"}, {"id": "a", "end": 1}, {"id": "b"}
    assert once([short, other, long, short], lambda one: one["id"]) == [long, other]
    assert fullest([{"a": 1}, {"a": 2}]) == fullest([{"a": 2}, {"a": 1}])


@pytest.mark.parametrize("value", [0, "0", None, "", 0.0])
def test_a_time_that_was_never_set_is_none(value):
    assert parse_time(value) is None


@given(st.integers(10**17 * 2, 10**19))
def test_nanoseconds_are_read_to_the_microsecond(nanoseconds):
    since = parse_time(nanoseconds) - datetime(1970, 1, 1, tzinfo=UTC)
    assert since // timedelta(microseconds=1) == nanoseconds // 1000
    assert parse_time(str(nanoseconds)) == parse_time(nanoseconds)


KINDS = st.sampled_from(["model", "tool", "judge", "other"])
SPANS = st.builds(
    Span,
    st.sampled_from(["", "a", "b", "c"]),
    st.sampled_from(["", "a", "b", "c"]),
    KINDS,
    st.sampled_from(["", "look"]),
    any_json,
    any_json,
    st.none() | st.just(T0),
    st.none() | st.just(T0),
)


@given(st.lists(SPANS, max_size=6))
def test_any_spans_are_read_or_refused(spans):
    with suppress(REFUSED):
        conversation_of_spans(spans)

"""Requests find their traces, each answer becomes steps once, and the journal tells the same after a kill."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.serving.chats import fingerprints, read_chat
from synde_pipeline.serving.traces import OpenTraces, Trace

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def about(owner: str = "") -> dict:
    return {"owner": owner, "source": "served", "domain": "shop", "scope": "", "task_id": "agent:shop:1"} | {
        "opened_at": T0.isoformat()
    }


def call(name: str, arguments: str = "{}", identity: str = "c1") -> dict:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": identity, "function": function}]}


def result(text: str, identity: str = "c1") -> dict:
    return {"role": "tool", "tool_call_id": identity, "content": text}


def ask(traces: OpenTraces, messages: list[dict], answer: dict, *, uid: str | None = None, owner: str = "") -> Trace:
    """One request and its answer."""
    found = traces.find(owner, messages, uid)
    trace = found.trace or traces.open(Trace(uid or f"served:{len(traces.by_uid)}", about(owner), T0))
    at = T0 + timedelta(seconds=trace.n_answers + 1)
    trace.n_answers += 1
    traces.answered(trace, found, messages, answer, at)
    return trace


TASK = {"role": "user", "content": "Renew the loan."}


def test_an_agents_requests_are_one_trace_by_what_was_said_before():
    traces = OpenTraces()
    first = ask(traces, [TASK], call("find"))
    echoed = {**call("find"), "refusal": None, "annotations": [], "content": ""}  # as clients send it back
    second = ask(traces, [TASK, echoed, result("found")], {"role": "assistant", "content": "Done."})
    assert first is second
    assert len(traces._heads) == 1  # of what was gone on behind nothing is kept
    found = [(step.state, step.tool, step.arguments, step.result) for step in second.steps()]
    assert found == [("", "find", "{}", "found"), ("found", "reply", "Done.", "")]


def test_two_runs_of_one_task_stay_two_runs_also_with_equal_answers():
    traces = OpenTraces()
    hi = {"role": "assistant", "content": "Which card?"}
    one, two = ask(traces, [TASK], hi), ask(traces, [TASK], hi)
    assert one is not two
    talk = [TASK, hi, {"role": "user", "content": "4417"}]
    done = {"role": "assistant", "content": "Done."}
    assert {ask(traces, talk, done), ask(traces, talk, done)} == {one, two}
    assert [len(trace.steps()) for trace in (one, two)] == [2, 2]


def test_another_key_never_finds_the_trace():
    traces = OpenTraces()
    mine = ask(traces, [TASK], call("find"), owner="a")
    theirs = ask(traces, [TASK, call("find"), result("found")], call("renew", identity="c2"), owner="b", uid=None)
    assert mine is not theirs
    assert [step.tool for step in theirs.steps()] == ["renew"]  # only what was answered here


def test_a_named_trace_takes_several_chains_and_counts_no_step_twice():
    traces = OpenTraces()
    talk = [TASK, call("find"), result("found")]
    ask(traces, talk[:1], call("find"), uid="served:x")
    ask(traces, talk, call("renew", identity="c2"), uid="served:x")
    cut = [TASK, call("renew", identity="c2"), result("renewed", "c2")]  # the client forgot its beginning
    trace = ask(traces, cut, {"role": "assistant", "content": "Done."}, uid="served:x")
    ask(
        traces,
        [{"role": "user", "content": "Sum it up."}],
        {"role": "assistant", "content": "One loan."},
        uid="served:x",
    )
    assert [step.tool for step in trace.steps()] == ["find", "renew", "reply", "reply"]
    assert [step.index for step in trace.steps()] == [0, 1, 2, 3]
    assert trace.task == "Renew the loan."
    assert trace.steps()[3].arguments == "One loan."


def test_answers_to_equal_requests_at_the_same_time_are_both_kept():
    traces = OpenTraces()
    trace = ask(traces, [TASK], call("find"))
    talk = [TASK, call("find"), result("found")]
    one, two = traces.find("", talk, None), traces.find("", talk, None)
    assert one.trace is two.trace is trace
    traces.answered(trace, one, talk, call("renew", identity="c2"), T0)
    traces.answered(trace, two, talk, call("refuse", identity="c3"), T0)
    assert sorted(step.tool for step in trace.steps()) == ["find", "refuse", "renew"]


def test_a_closed_trace_is_found_no_more():
    traces = OpenTraces()
    trace = ask(traces, [TASK], call("find"))
    traces.close(trace)
    assert traces.find("", [TASK, call("find"), result("found")], None).trace is None
    assert not traces._heads


def test_only_traces_that_nobody_waits_for_are_idle():
    traces = OpenTraces()
    trace, busy = ask(traces, [TASK], call("find")), ask(traces, [TASK], call("find"))
    busy.n_running = 1
    assert traces.idle(T0 + timedelta(hours=1)) == [trace]
    assert traces.idle(T0) == []


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4), st.integers(0, 3))
def test_a_fingerprint_is_of_all_that_was_said_before(texts, at):
    messages = [{"role": "user", "content": text} for text in texts]
    prints = fingerprints("", messages)
    assert len(set(prints)) == len(texts) + 1
    at = min(at, len(texts) - 1)
    other = [*messages[:at], {"role": "user", "content": texts[at] + "x"}, *messages[at + 1 :]]
    changed = fingerprints("", other)
    assert changed[: at + 1] == prints[: at + 1]
    assert all(a != b for a, b in zip(changed[at + 1 :], prints[at + 1 :], strict=True))
    assert not set(fingerprints("somebody", messages)) & set(prints)


@given(st.lists(st.sampled_from(["answer", "user", "tool"]), max_size=8))
@settings(max_examples=60)
def test_each_answer_of_ours_is_a_step_and_nobody_elses_is(kinds):
    traces, talk = OpenTraces(), [TASK]
    n_ours = 0
    for k, kind in enumerate(kinds):
        if kind == "answer":
            answer = call("find", identity=f"c{k}")
            trace = ask(traces, talk, answer, uid="served:x")
            talk = [*talk, answer]
            n_ours += 1
            assert len(trace.steps()) == n_ours
        else:
            talk = [*talk, {"role": "user", "content": kind} if kind == "user" else result(kind, f"c{k - 1}")]
    assert len(read_chat(talk).steps) == n_ours

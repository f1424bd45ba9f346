"""The steps that successful runs of a goal share, and in which state a tool works."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.preconditions import preconditions
from synde_pipeline.memory.workflows import workflows
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import DAY

CONFIG = MemoryConfig(embedder="hashing")


def evidence(task: int | str, path: Sequence[str], *, outcome: str = "success", features: Sequence[str] = ()) -> Delta:
    return Delta.model_validate(
        {
            "day": DAY,
            "effective_day": DAY,
            "op": "EVIDENCE",
            "domain": "library",
            "task_id": f"test:library:{task}",
            "trace_uid": f"test:{task}-{outcome}-{'-'.join(path)}",
            "outcome": outcome,
            "path": tuple(path),
            "features": tuple(features),
        }
    )


def found(runs: Sequence[Delta]) -> dict[str, MemoryItem]:
    return {item.title: item for item in workflows(runs, CONFIG)}


def test_the_steps_that_most_tasks_share_are_the_workflow_whatever_each_did_besides():
    runs = [evidence(k, ["find", f"get_{k}", "get_loan", f"list_{k}", "renew"]) for k in range(4)]
    item = found(runs)["How to renew"]
    assert item.content == "1. find 2. get_loan 3. renew (4 of 4 successful tasks)"
    assert (item.kind, item.scope, len(item.task_ids)) == ("workflow", "tool:renew", 4)


def test_steps_say_where_their_arguments_come_from():
    flow = ["renew: take loan from loans of get_member", "renew: take desk from the result of find"]
    runs = [evidence(k, ["find", "get_member", "renew"], features=flow) for k in range(3)]
    assert found(runs)["How to renew"].content.startswith(
        "1. find 2. get_member 3. renew (desk from the result of step 1, loan from loans of step 2)"
    )


def test_tools_that_find_the_same_are_one_step():
    runs = [
        evidence(
            k,
            [f"find_by_{by}", "get_member", "renew"],
            features=[f"get_member: take id from the result of find_by_{by}"],
        )
        for k, by in enumerate(("card", "name", "card", "name"))
    ]
    assert "1. find_by_card or find_by_name 2. get_member (id from the result of step 1)" in (
        found(runs)["How to renew"].content
    )


def test_failed_runs_single_steps_and_too_few_tasks_make_no_workflow():
    assert found([evidence(k, ["find", "renew"], outcome="failure") for k in range(4)]) == {}
    assert found([evidence(k, ["renew"]) for k in range(4)]) == {}
    assert found([evidence(1, ["find", "renew"]), evidence(1, ["find", "get_loan", "renew"])]) == {}


def test_another_way_that_enough_tasks_took_is_a_second_workflow():
    runs = [evidence(k, ["find", "get_loan", "renew"]) for k in range(5)]
    runs += [evidence(k, ["find", "pay", "renew"]) for k in range(5, 9)]
    items = found(runs)
    assert {"How to renew", "How to renew, with pay"} <= set(items)
    assert items["How to renew, with pay"].content == "1. find 2. pay 3. renew (4 of 9 successful tasks)"


def test_what_only_looks_is_a_goal_only_where_it_leads_to_no_other():
    runs = [evidence(k, ["find", "get_loan", "renew"]) for k in range(3)]
    asked = [evidence(k, ["find", "get_loan"]) for k in range(3, 6)]
    assert set(found(asked)) == {"How to get loan"}
    assert set(found([*runs, *asked])) == {"How to renew"}


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7), min_size=1, max_size=9), st.randoms())
def test_every_workflow_is_a_closed_subsequence_of_the_runs_it_counts_in_any_order_of_runs(paths, random):
    runs = [evidence(k, path) for k, path in enumerate(paths)]
    items = list(workflows(runs, CONFIG))
    for item in items:
        steps = [word for word in item.content.split(" (")[0].split() if not word.endswith(".")]
        goal = item.scope.removeprefix("tool:")
        ways = [list(dict.fromkeys([*path[: path.index(goal)], goal])) for path in paths if goal in path]
        ways = [way for way in ways if all(tool in rest for rest in [iter(way)] for tool in steps)]
        assert len(steps) > 1
        assert steps[-1] == goal
        assert len(ways) == len(item.task_ids) >= CONFIG.min_tasks
    random.shuffle(runs)
    assert [item.model_dump(exclude={"supports"}) for item in workflows(runs, CONFIG)] == [
        item.model_dump(exclude={"supports"}) for item in items
    ]


# -- preconditions -----------------------------------------------------------------------------------------------------


def states(tool: str, state: str, tasks: range, verb: str = "works") -> list[Delta]:
    return [evidence(f"{tool}{k}", [tool], features=[f"{tool}: {verb} when status is {state}"]) for k in tasks]


def test_a_state_that_a_tool_always_met_when_it_worked_is_its_precondition():
    runs = [*states("renew", "open", range(8)), *states("archive", "closed", range(8))]
    runs += states("renew", "overdue", range(8, 9), verb="is refused")
    texts = {item.title: item.content for item in preconditions(runs, CONFIG)}
    assert texts["Check status before renew"] == (
        "Call renew only if status is open: so it was each time that it worked (8 tasks). Refused: overdue."
    )
    assert "Check status before archive" in texts


def test_a_state_that_all_records_have_or_that_varies_is_no_precondition():
    assert list(preconditions(states("renew", "open", range(20)), CONFIG)) == []
    both = [*states("renew", "open", range(8)), *states("renew", "overdue", range(8, 16))]
    assert list(preconditions([*both, *states("archive", "closed", range(2))], CONFIG)) == []


def test_a_field_of_many_values_is_no_state():
    runs = [row for k in range(9) for row in states(f"tool{k}", f"city{k}", range(4))]
    assert list(preconditions(runs, CONFIG)) == []

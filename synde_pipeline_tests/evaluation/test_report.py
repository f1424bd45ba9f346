"""Reports: numbers only where there are enough tasks, logged text escaped, equal content equal bytes."""

import json

from synde_pipeline.evaluation.outcomes import Tried, base_and_trained, breakdown, by_k, comparisons, harm, summarise
from synde_pipeline.evaluation.report import arms_table, publish, small_svg
from synde_pipeline.evaluation.report_page import gate_of, heat_map, render, sentences
from synde_pipeline.evaluation.summary import ARMS
from synde_pipeline.settings import EvaluationConfig

CONFIG = EvaluationConfig(bootstrap=200)
HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x>"


def sums(nll: float, n_top1: int = 2) -> dict:
    """Sums of one replayed task of five steps and ten action tokens."""
    return {"nll": nll, "n_tokens": 10, "n_tool_top1": n_top1, "n_steps": 5, "n_context_tokens": 0,
            "n_truncated_steps": 0, "n_elided": 0, "seconds": 0.01}  # fmt: skip


def rows(n_tasks: int, name: str = "t", domain: str = "library") -> list[Tried]:
    """Arm `weights` is better by half a nat per token in every task; `context` is equal to `none`."""
    return [
        Tried(
            task_id=f"{name}{k}",
            domain=domain,
            scope="site:a" if k % 2 else "site:b",
            place="trained on" if k % 2 else "not trained on",
            shown=("item1",),
            adapter="library-0001/g00" if k % 2 else "",
            arms={
                "none": sums(30.0 + k),
                "context": sums(30.0 + k, 1 if k == 0 else 2),
                "weights": sums(25.0 + k, 3),
                "dual": sums(25.0 + k, 3),
            },
        )
        for k in range(n_tasks)
    ]


CELL = {"value": 2.5, "low": 2.0, "high": 3.0, "n": 4, "units": 4}
ADAPTER = {"cycle": "library-0001", "adapter": "a" * 64, "alpha": 1.0, "folder": "g00", "learned_from": ["site:a"],
           "days": ["2025-01-01", "2025-01-03"], "trajectories": 7, "replayed": 2, "bytes": 123, "seed": 0}  # fmt: skip


def report(n_tasks: int = 12, domain: str = "library", name: str = "t") -> dict:
    """A whole report of replayed tasks."""
    mine = rows(n_tasks, name, domain)
    few = [base_and_trained(row, row.arms["none"], row.arms["weights"]) for row in mine]
    moved = {
        "value": -0.1,
        "se": 0.05,
        "low": -0.2,
        "high": 0.0,
        "n": 1,
        "verdict": "no difference shown",
        "sets": ["c"],
    }
    return {
        "cycle": f"{domain}-0001",
        "domain": domain,
        "base": {"name": HOSTILE, "hash": "0" * 64},
        "model": {"hash": "1" * 64, "adapters": [{"cycle": "c", "adapter": "a" * 64, "alpha": 1.0}]},
        "evaluation": {"method": "offline replay", "is_time_split": False, "last_claimed_day": "2025-01-03",
                       "days": ["2025-01-01", "2025-01-03"], "n_tasks": n_tasks, "n_trajectories": n_tasks,
                       "n_tasks_checked_for_leaks": n_tasks},
        "logs": [{"domain": domain, "source": HOSTILE, "outcome": "success", "n": 7}],
        **summarise(mine, CONFIG),
        "all_domains": {"cycles": ["c"], "is_time_split": False, **summarise(mine, CONFIG)},
        "comparisons": comparisons(mine, CONFIG),
        "by_place": breakdown(mine, lambda row: row.place, CONFIG),
        "by_domain": breakdown(mine, lambda row: row.domain, CONFIG),
        "by_k": by_k({0: few, 3: few}, CONFIG),
        "curve": [],
        "retention": {"metric": "nll", "is_lower_better": True, "row": {}, "base": {}, "sets": ["c", f"{domain}-0001"],
                      "rows": {"base": {"c": CELL}, f"{domain}-0001": {"c": {**CELL, "value": 2.0}}},
                      "not_promoted": [], "backward_transfer": moved},
        "own_data": None,
        "contents": [ADAPTER],
        "cost": {"adapters": 1, "adapter_bytes": 1234, "training": {"sequences": 3, "steps": 2, "cpu_s": None},
                 "arms": {"none": {"context_tokens": 0.0, "latency_ms": 1.0, "money_per_thousand": 0.25}}},
        "training_seeds": [0],
        "harm": harm(mine),
        "tasks": [row.for_json() for row in mine],
        "tasks_elsewhere": [],
    }  # fmt: skip


def test_arms_have_value_error_interval_and_n():
    found = summarise(rows(12), CONFIG)
    assert set(found["arms"]) == set(ARMS)
    assert found["arms"]["none"]["nll"]["n"] == 12
    assert {"value", "se", "low", "high", "n"} <= set(found["arms"]["dual"]["tool_top1"])
    assert found["differences"]["weights"]["nll"]["value"] == -0.5
    assert found["differences"]["weights"]["nll"]["against_none"] == "better"
    assert found["differences"]["context"]["nll"]["against_none"] == "no difference shown"


def test_too_few_tasks_print_a_note_and_no_number():
    found = summarise(rows(9), CONFIG)
    assert found["arms"]["dual"] == {"n": 9, "note": "not enough tasks (n=9, needs 10)"}
    assert "not enough tasks (n=9, needs 10)" in arms_table(found)
    assert small_svg(found) == ""
    page = render(report(9))
    assert "not enough tasks" in page
    assert "too few" in page


def test_the_page_is_self_contained_and_escapes_what_logs_say():
    page = render(report(name=HOSTILE))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<img" not in page
    assert page.count("<svg") == 3
    assert "Not time-split" in page
    assert page.count("Content-Security-Policy") == 1
    assert "src=" not in page.replace("&lt;img src=", "")


def test_the_page_says_first_what_the_gate_says_and_without_a_word_of_it_that_nothing_is_promoted():
    for gate, word in (
        (None, "No gate evidence: the champion stays"),
        ({"passed": True, "reason": "much better"}, "Passes the gate"),
        ({"passed": 1, "reason": "odd"}, "Does not pass the gate: the champion stays"),
        ({"passed": False, "reason": "worse"}, "Does not pass the gate: the champion stays"),
    ):
        assert gate_of(gate)["word"] == word
    numbers = {"found": 0.1, "limit": 0.05, "n": 12, "p": 0.1}
    checks = [{"name": "improvement", "status": "failed", **numbers, "sentence": HOSTILE}]
    page = render(report() | {"gate": {"passed": False, "reason": HOSTILE, "checks": checks}})
    assert page.index("Does not pass the gate") < page.index("Four arms") < page.index("What the gate looked at")
    assert "<script" not in page


def test_a_report_of_a_candidate_that_could_not_be_tried_is_a_page_too():
    nothing = {arm: {"n": 0, "note": "not evaluated: broken files"} for arm in ARMS}
    kept = ("cycle", "domain", "base", "model", "logs")
    empty = {"evaluation": {**report()["evaluation"], "n_tasks": 0}, "arms": nothing, "tasks": [], "task_ids": []}
    gate = {"passed": False, "reason": "broken files"}
    page = render({name: value for name, value in report().items() if name in kept} | empty | {"gate": gate})
    assert page.index("Does not pass the gate") < page.index("not evaluated: broken files")
    assert "Not time-split" not in page


def test_the_page_names_harmed_tasks_with_the_commands_that_show_what_was_in_play():
    page = render(report())
    assert "context: 1 harmed, 0 helped, of 12" in page
    assert "weights: 0 harmed, 12 helped, of 12" in page
    assert "<code>synde memory show item1</code>" in page
    assert "<code>library-0001/g00</code>" in page


def test_the_verdict_words_pairs_and_retention_with_their_numbers():
    found = sentences(report())
    assert len(found) == 4
    assert found[1].startswith(
        "The adapters alone against the base alone: nats/token 3.050 against 3.550, difference -0.500"
    )
    assert "by the logged tool's rank 12 tasks better, 0 worse (p < 0.001)" in found[1]
    assert found[3] == "Retention over 1 earlier task set: -0.100 [-0.200, +0.000], no difference shown."


def test_a_heat_map_is_green_below_the_base_and_empty_where_nothing_was_measured():
    found = heat_map(report()["retention"])
    assert [row["name"] for row in found["rows"]] == ["base", "library-0001"]
    assert [cell is None for cell in found["rows"][1]["cells"]] == [False, True]
    assert found["rows"][1]["cells"][0]["tint"].startswith("rgba(47,145,99,")
    assert heat_map(None) is None


def test_measured_times_are_no_part_of_the_content_hash_and_equal_reports_are_equal_bytes(warehouse):
    first = publish(warehouse, "library-0001", report(), {})
    page = (warehouse.folder("eval_reports", "library-0001") / "report.html").read_bytes()
    slower = json.loads(json.dumps(report()))
    for task in slower["tasks"]:
        task["arms"]["none"]["seconds"] = 9.9
    for section in (slower, slower["all_domains"], slower["cost"]):
        section["arms"]["none"]["latency_ms"] = 99.0
    slower["cost"]["training"]["cpu_s"] = 5.0
    assert publish(warehouse, "library-0001", slower, {}).content_hash == first.content_hash
    assert publish(warehouse, "library-0001", report(), {}).content_hash == first.content_hash
    assert (warehouse.folder("eval_reports", "library-0001") / "report.html").read_bytes() == page


def test_the_table_for_a_terminal_names_every_arm_with_n_and_interval():
    lines = arms_table(summarise(rows(12), CONFIG)).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == list(ARMS)
    assert all(line.split()[1] == "12" and "[" in line for line in lines[1:5])

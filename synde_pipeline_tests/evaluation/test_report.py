"""Reports: numbers only where there are enough tasks, logged text escaped, equal content equal bytes."""

import json
from dataclasses import replace

from synde_pipeline.evaluation.arms import ARMS, summarise
from synde_pipeline.evaluation.replay_eval import TaskSums
from synde_pipeline.evaluation.report import publish, render, small_svg, text_table
from synde_pipeline.settings import EvaluationConfig

CONFIG = EvaluationConfig(bootstrap=200)


def sums(n_tasks: int) -> dict:
    """Arm `weights` is better by half a nat per token in every task; `context` is equal to `none`."""
    none = [TaskSums(f"t{k}", 30.0 + k, 10, 2, 5, 0, 0, 0, 0.01) for k in range(n_tasks)]
    better = [replace(row, nll=row.nll - 5) for row in none]
    return {"none": none, "context": none, "weights": better, "dual": better}


def report(n_tasks: int = 12, domain: str = "library") -> dict:
    per_task = [{arm: vars(rows[k]) for arm, rows in sums(n_tasks).items()} for k in range(n_tasks)]
    return {
        "cycle": f"{domain}-0001",
        "domain": domain,
        "base": {"name": "<script>alert(1)</script>", "hash": "0" * 64},
        "model": {"hash": "1" * 64, "adapters": [{"cycle": "c", "adapter": "a" * 64, "alpha": 1.0}]},
        "evaluation": {"method": "offline replay", "is_time_split": False, "last_claimed_day": "2025-01-03",
                       "days": ["2025-01-01", "2025-01-03"], "n_tasks": n_tasks, "n_trajectories": n_tasks},
        "logs": [{"domain": domain, "source": "test", "outcome": "success", "n": 7}],
        **summarise(sums(n_tasks), CONFIG),
        "all_domains": {"cycles": ["c"], **summarise(sums(n_tasks), CONFIG)},
        "tasks": [{"task_id": f"t{k}", "arms": arms} for k, arms in enumerate(per_task)],
    }  # fmt: skip


def test_arms_have_value_error_interval_and_n():
    found = summarise(sums(12), CONFIG)
    assert set(found["arms"]) == set(ARMS)
    assert found["arms"]["none"]["nll"]["n"] == 12
    assert {"value", "se", "low", "high", "n"} <= set(found["arms"]["dual"]["tool_top1"])
    assert found["differences"]["weights"]["nll"]["value"] == -0.5
    assert found["differences"]["weights"]["nll"]["against_none"] == "better"
    assert found["differences"]["context"]["nll"]["against_none"] == "no difference shown"


def test_too_few_tasks_print_a_note_and_no_number():
    found = summarise(sums(9), CONFIG)
    assert found["arms"]["dual"] == {"n": 9, "note": "not enough tasks (n=9, needs 10)"}
    assert "not enough tasks (n=9, needs 10)" in text_table(found)
    assert small_svg(found) == ""
    assert "not enough tasks" in render(report(9))


def test_the_page_is_self_contained_and_escapes_what_logs_say():
    page = render(report())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 5
    assert "Not time-split" in page
    assert page.count("Content-Security-Policy") == 1
    assert 'src="http' not in page


def test_measured_times_are_no_part_of_the_content_hash_and_equal_reports_are_equal_bytes(warehouse):
    first = publish(warehouse, "library-0001", report(), {})
    page = (warehouse.folder("eval_reports", "library-0001") / "report.html").read_bytes()
    slower = json.loads(json.dumps(report()))
    for task in slower["tasks"]:
        task["arms"]["none"]["seconds"] = 9.9
    for section in (slower, slower["all_domains"]):
        section["arms"]["none"]["latency_ms"] = 99.0
    assert publish(warehouse, "library-0001", slower, {}).content_hash == first.content_hash
    assert publish(warehouse, "library-0001", report(), {}).content_hash == first.content_hash
    assert (warehouse.folder("eval_reports", "library-0001") / "report.html").read_bytes() == page


def test_the_table_for_a_terminal_names_every_arm_with_n_and_interval():
    lines = text_table(summarise(sums(12), CONFIG)).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == list(ARMS)
    assert all(line.split()[1] == "12" and "[" in line for line in lines[1:5])

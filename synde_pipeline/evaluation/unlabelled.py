"""What logs without a label still give, what they cannot, and the commands that add labels: for people."""

from typing import Any

from synde_pipeline.evaluation.query import sql
from synde_pipeline.logs.daily import ARTEFACT as RAW_LOGS
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.storage import Warehouse

COMMANDS = (
    ("the runs' names", "synde sql \"select trace_uid, task from raw_logs where outcome = 'unknown'\""),
    ("one run, by a person", "synde label TRACE_UID success   (or failure, partial)"),
    ("a score in the logs", "synde import PATH --outcome 'score:NAME>=0.5'   (synde import --dry-run PATH lists them)"),
    ("scores, feedback, evaluations, a SWE-bench report in files", "synde import FILE"),
    (
        "a file of labels: landing/day=2025-03-01/labels-NAME.jsonl, the day of `at`, one a line",
        '{"trace_uid": "TRACE_UID", "outcome": "success", "label_source": "human", "at": "2025-03-01T12:00:00Z"}',
    ),
)
"""What there is, and what to type or to write."""


def labels_of(warehouse: Warehouse) -> dict[str, Any]:
    """How many runs there are, how many carry a label, and how a judge read the others.

    Returns:
        runs, labelled, judged {outcome: runs} (empty: no judge was configured). It names no run: reports outlive them.
    """
    if not warehouse.keys(RAW_LOGS):
        return {"runs": 0, "labelled": 0, "judged": {}}
    counts = sql(
        warehouse,
        "select count(*) as runs, count(*) filter (outcome <> 'unknown') as labelled from raw_logs",
    ).iloc[0]
    judged = {}
    if warehouse.keys(REFLECTIONS):
        found = sql(
            warehouse,
            "select r.outcome, count(*) as n from reflections r join raw_logs l using (trace_uid) "
            "where l.outcome = 'unknown' and r.label_source = 'judge' group by all order by all",
        )
        judged = {str(row["outcome"]): int(row["n"]) for row in found.to_dict("records")}
    return {"runs": int(counts["runs"]), "labelled": int(counts["labelled"]), "judged": judged}


def told_of_labels(found: dict[str, Any] | None) -> dict[str, list[Any]]:
    """What a person should know where no run carries a label; sentences and (case, command) pairs, else none of both.

    Args:
        found: from `labels_of`; None where it was not asked.
    """
    if not found or not found["runs"] or found["labelled"]:
        return {"sentences": [], "commands": []}
    runs, judged = found["runs"], found["judged"]
    n = sum(judged.values())
    read = (
        f"A judge read {n} of them: {judged.get('success', 0)} success, {judged.get('failure', 0)} failure. Memory and "
        "training follow what it says, which is a guess."
        if n
        else "No judge was configured (SYNDE_JUDGE=rules or llm): nothing is trained, and memory holds only what "
        "single steps show."
    )
    return {
        "sentences": [
            f"None of {runs} runs carries a label of how it ended.",
            read,
            "Without labels there is no success rate, no four arms and no gate: they need runs that are known to have "
            "succeeded, so no model is promoted by its evidence.",
            "A label makes its run count in all of these, and outranks the judge. It may come later than the run:",
        ],
        "commands": list(COMMANDS),
    }

"""The SDK: whatever an agent, threads, processes or a kill do, landing holds whole trajectories and nothing else."""

import fcntl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.logs.landing import landing_days
from synde_pipeline.logs.logger import ExecutionLogger, LandingWriter
from synde_pipeline.logs.validate import read_day
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.helpers import DAY, trajectory

any_text = st.text(st.characters(), max_size=30)


def logger(task="find a flight", cls=ExecutionLogger, **values):
    """A logger whose clock ticks a second at each look, from a fixed time on."""
    ticks = iter(range(10**6))
    clock = lambda: datetime(2025, 1, 3, 8, tzinfo=UTC) + timedelta(seconds=next(ticks))  # noqa: E731
    return cls(task, **({"domain": "travel", "clock": clock} | values))


def landed(warehouse: Warehouse, day=DAY, n_torn=0):
    """A day as the pipeline reads it; nothing was refused but halves of lines."""
    found = read_day(warehouse, day)
    assert (len(found.quarantined), found.superseded, found.n_duplicates, found.n_pending) == (n_torn, [], 0, 0)
    return found.kept


def landing_file(warehouse, day=DAY) -> Path:
    return warehouse.path("landing", str(day)) / "agent.jsonl"


def python(code: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"import sys\nfrom synde_pipeline.logs.logger import *\n{code}", *map(str, words)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)


def test_the_pipeline_reads_the_trajectories_that_were_logged(warehouse):
    records = []
    for k in range(3):
        with logger(f"task {k}", scope="site:zormek", source="pilot", model="m1", shown_memory=["i1"]) as log:
            log.log_step({"page": k}, ("search", {"to": "BER", "from": "OSL"}), "why", ["LH1"], success=True)
            log.show_memory(["i2", "i1"])
            log.log_step(None, ("reply", "42 flights"), result="thanks")
            log.set_outcome("partial", 0.5)
        records.append(log.record)
    assert landed(warehouse) == sorted(records, key=lambda item: item.trace_uid)
    assert records[0].task_id != records[1].task_id == logger("task 1", source="another").record.task_id
    last, (first, second) = log.record, log.record.steps
    assert (last.trace_uid[:6], last.scope, last.model, last.reward) == ("pilot:", "site:zormek", "m1", 0.5)
    assert (last.shown_memory, last.outcome) == (("i1", "i2"), "partial")
    assert (first.state, first.action, first.result) == ('{"page":2}', 'search {"from":"OSL","to":"BER"}', '["LH1"]')
    assert (second.state, second.action, second.success) == ("", "reply 42 flights", None)
    assert last.started_at < first.timestamp < second.timestamp < last.ended_at


def test_finalising_returns_the_papers_words_and_writes_once(warehouse):
    log = logger()
    log.log_step("page", "search")
    log.set_outcome("success")
    first = log.finalize_trajectory()
    assert first == {"task": "find a flight", "steps": log.record.steps, "outcome": "success", "total_reward": 1.0}
    assert log.finalize_trajectory() == first
    assert landed(warehouse) == [log.record]
    for late in (lambda: log.log_step("", "search"), lambda: log.set_outcome("failure"), lambda: log.show_memory([])):
        with pytest.raises(InputError, match="is finalised; start another ExecutionLogger"):
            late()


@pytest.mark.parametrize(
    ("action", "as_text"),
    [
        (("search", {"b": 1, "a": "ü"}), 'search {"a":"ü","b":1}'),
        ({"tool": "search", "arguments": ["a"]}, 'search ["a"]'),
        (("search", '{"b": 1, "a": 2}'), 'search {"a":2,"b":1}'),  # as models write their calls
        (("reply", '{"b": 1, "a": 2}'), 'reply {"b": 1, "a": 2}'),
        ("reply see you", "reply see you"),
    ],
)
def test_an_action_is_a_pair_a_mapping_or_a_text(action, as_text):
    assert logger().log_step("", action).action == as_text


@pytest.mark.parametrize("action", ["", ("two words", {}), (1, {}), None, {"tool": "a", "args": {}}, ("a", "b", "c")])
def test_an_action_without_a_tool_is_refused(action):
    with pytest.raises(InputError):
        logger().log_step("", action)


@given(st.lists(st.lists(any_text, min_size=4, max_size=4), max_size=4), any_text.filter(bool))
def test_any_text_lands_but_for_lone_surrogates(tmp_path_factory, rows, task):
    warehouse = Warehouse(tmp_path_factory.mktemp("any"))
    with logger(task, landing=warehouse.path("landing")) as log:
        for state, message, reasoning, result in rows:
            log.log_step(state, ("reply", message), reasoning, result)
    [read] = landed(warehouse)
    texts = [[step.state, step.arguments, step.reasoning, step.result] for step in read.steps]
    assert texts == [[text.encode("utf-8", "replace").decode() for text in row] for row in rows]


class Shop(ExecutionLogger):
    def serialize_state(self, state):
        return f"page {state['url']}"

    def verify_result(self, result):
        return result.get("ok")

    def evaluate_outcome(self):
        return "success" if self.steps[-1].success else "failure"

    def calculate_reward(self):
        return 0.25 * len(self.steps) if self.record.outcome == "success" else -1.0


def test_subclasses_decide_what_they_are_not_told(warehouse):
    with logger(cls=Shop) as log:
        log.log_step({"url": "/a"}, "click", result={"ok": True}, success=False)
        log.log_step({"url": "/b"}, "click", result={"ok": True})
    [read] = landed(warehouse)
    assert [(step.state, step.success) for step in read.steps] == [("page /a", False), ("page /b", True)]
    assert (read.outcome, read.reward, read.label_source) == ("success", 0.5, "verifier")


def test_what_nobody_judged_is_unknown_and_the_last_word_counts():
    with logger() as silent, logger(cls=Shop) as log:
        log.set_outcome("success")
        log.set_outcome("failure", 0.1, by="user")
    assert (silent.record.outcome, silent.record.reward, silent.record.label_source) == ("unknown", None, "none")
    assert (log.record.outcome, log.record.reward, log.record.label_source) == ("failure", 0.1, "user")
    with pytest.raises(InputError, match=r"outcome is 'won': .*; see records\.Trajectory"):
        logger().set_outcome("won")


@pytest.mark.parametrize(
    ("error", "told", "outcome"),
    [(ValueError, None, "failure"), (ValueError, "success", "success"), (KeyboardInterrupt, None, "unknown")],
)
def test_an_exception_propagates_and_the_run_lands_with_its_type(warehouse, error, told, outcome):
    with pytest.raises(error), logger() as log:  # noqa: PT012 - the block is what is tested
        log.log_step("page", "search", "", "3 flights")
        if told:
            log.set_outcome(told)
        raise error("expected answer: 42")
    assert landed(warehouse) == [log.record]
    assert (log.record.outcome, log.record.steps[-1].result) == (outcome, f"3 flights\n{error.__name__}")


def test_calls_of_a_decorated_function_are_steps(warehouse):
    with logger() as log:

        @log.step
        def search(to, *more, limit=3):
            return [to, *more][:limit]

        @log.step
        def act(state, action, reasoning=""):
            state.append("changed by the call")
            return f"did {action[0]}"

        assert search("BER", "OSL", limit=1) == ["BER"]
        assert act(["page"], ("click", {"id": 7}), reasoning="it is blue") == "did click"
        search(to="OSL")
    assert [(step.state, step.action, step.reasoning, step.result) for step in landed(warehouse)[0].steps] == [
        ("", 'search {"limit":1,"more":["OSL"],"to":"BER"}', "", '["BER"]'),
        ('["page"]', 'click {"id":7}', "it is blue", "did click"),
        ("did click", 'search {"to":"OSL"}', "", '["OSL"]'),
    ]


def test_what_a_decorated_function_raises_is_a_failed_step_and_propagates(warehouse):
    def search(to):
        raise LookupError(f"no airport {to}")

    with pytest.raises(LookupError), logger() as log:  # noqa: PT012 - the block is what is tested
        with pytest.raises(TypeError):
            log.step(search)(airport="BER")  # the agent's mistake, and logged as one
        log.step(search)("XXX")
    wrong, failed = landed(warehouse)[0].steps
    assert (wrong.arguments, wrong.success) == ('{"airport":"BER"}', False)
    assert (failed.result, failed.success, log.record.outcome) == ("LookupError: no airport XXX", False, "failure")


def test_equal_clocks_and_ids_make_equal_bytes_in_private_folders_wherever_the_agent_goes(tmp_path, monkeypatch):
    for name in ("a", "b"):
        monkeypatch.chdir(tmp_path)
        with logger(landing=f"{name}/landing", id_factory=lambda: "7") as log:
            monkeypatch.chdir("/")
            log.log_step({1}, ("search", {"b": None, "a": 0.1}))
    one, other = (tmp_path / name / "landing" / f"day={DAY}" / "agent.jsonl" for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()
    assert [path.stat().st_mode & 0o777 for path in (one, *one.parents[:2])] == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("evil", ["../../../evil", "/tmp/evil", "a\0b", ".", "day=2020-01-01/../x"])
def test_no_text_of_a_trajectory_becomes_a_path(warehouse, home, evil):
    with logger(evil, task_id=f"sim:travel:{evil}", source=evil, model=evil, id_factory=lambda: evil) as log:
        log.log_step(evil, ("search", evil))
    assert landed(warehouse) == [log.record]
    files = {path.relative_to(home) for path in home.rglob("*") if path.is_file() and path.suffix != ".ids"}
    assert files == {landing_file(warehouse).relative_to(home)}
    for refused in (lambda: logger(domain=evil), lambda: LandingWriter(home, file_name=evil)):
        with pytest.raises(InputError):
            refused()


def test_a_writer_makes_each_day_durable_by_closing_and_refuses_what_comes_later(warehouse):
    with LandingWriter(warehouse.path("landing")) as writer:
        for k, day in enumerate((DAY, date(2025, 2, 1), DAY)):
            writer.add(trajectory(f"test:{k}", day=day))
        with logger(landing=writer) as log:
            log.set_outcome("success")
        assert not warehouse.root.exists()
    assert [len(landed(warehouse, day)) for day in landing_days(warehouse)] == [3, 1]
    with pytest.raises(InputError, match="writer is closed"):
        writer.add(log.record)


def test_a_failed_write_raises_and_finalising_again_writes(warehouse):
    warehouse.root.mkdir(parents=True)
    warehouse.path("landing").write_text("in the way")
    log = logger()
    with pytest.raises(OSError, match="landing"):
        log.finalize_trajectory()
    warehouse.path("landing").unlink()
    log.finalize_trajectory()
    assert landed(warehouse) == [log.record]


def test_threads_share_a_logger_a_writer_and_a_file(warehouse):
    def work(thread):
        for k in range(100):
            shared.log_step(f"{thread}-{k}", "search", result={"k": k})
        for landing in (writer, warehouse.path("landing")):
            logger(f"of {thread}", landing=landing).finalize_trajectory()

    with LandingWriter(warehouse.path("landing")) as writer, logger() as shared, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    kept = landed(warehouse)
    assert (len(kept), shared.record in kept) == (17, True)
    assert {step.state for step in shared.record.steps} == {f"{thread}-{k}" for thread in range(8) for k in range(100)}


LOOP = """
for k in range(int(sys.argv[2])):
    with ExecutionLogger(f"task {k}", source=sys.argv[1], clock=lambda: datetime(2025, 1, 3, tzinfo=UTC)) as log:
        log.log_step("page", "search", result="x" * 9_000)
    print(log.record.trace_uid, flush=True)
"""


def test_processes_append_to_one_file(warehouse):
    written = [process.communicate()[0].split() for process in [python(LOOP, name, 50) for name in "abcd"]]
    assert sorted(item.trace_uid for item in landed(warehouse)) == sorted(uid for uids in written for uid in uids)
    assert len(landing_file(warehouse).read_bytes().splitlines()) == 200


def test_a_kill_costs_the_running_trajectory_only_and_a_torn_line_stays_alone(warehouse):
    known = set()
    for life in range(5):
        process = python(LOOP, f"life{life}", 10**6)
        known.add(process.stdout.readline().strip())
        time.sleep(0.05 * life)
        process.kill()
        known |= set(process.communicate()[0].split())  # what was finalised before the kill
        read = {item.trace_uid for item in read_day(warehouse, DAY).kept}
        assert known <= read
        assert len(read - known) <= life + 1  # landed, but killed before it could say so
        with landing_file(warehouse).open("ab") as file:  # as a kill within the write leaves it
            file.write(b'{"schema_version":1,"trace_uid":"half')
    logger().finalize_trajectory()
    assert known < {item.trace_uid for item in landed(warehouse, n_torn=5)}


def test_a_file_that_is_removed_while_a_logger_waits_for_it_takes_nothing_along(warehouse):
    logger().finalize_trajectory()
    late = logger()
    with landing_file(warehouse).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=late.finalize_trajectory)
        waiting.start()
        waiting.join(0.2)
        landing_file(warehouse).unlink()
    waiting.join()
    assert landed(warehouse) == [late.record]


def test_the_sdk_needs_pydantic_alone():
    heavy = "[name for name in ('torch', 'dagster', 'pandas', 'pyarrow', 'numpy', 'lancedb') if name in sys.modules]"
    assert python(f"print({heavy})").communicate()[0] == "[]\n"

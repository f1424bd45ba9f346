"""The journal keeps what was answered until it has landed; filing is whole, once, and forgets nothing too early."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from synde_pipeline.errors import InputError
from synde_pipeline.logs.daily import load_raw_logs, publish_raw_logs
from synde_pipeline.logs.labels import LabelRow
from synde_pipeline.logs.tombstones import active_path, bury
from synde_pipeline.serving.filing import _write, file_closed, label_of, recovered
from synde_pipeline.serving.journal import FILED, OPEN, Answer, Journal
from synde_pipeline.serving.keys import Doorkeeper, add_key, is_local, remove_key
from synde_pipeline.storage import write_atomically

T0 = datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)
SECRET = "my number is 4417 0000"


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "serving" / "journal.sqlite")
    yield made
    made.close()


def about(at: datetime = T0) -> dict:
    return {"owner": "", "source": "served", "domain": "shop", "scope": "site:a", "task_id": "agent:shop:1"} | {
        "opened_at": at.isoformat()
    }


def answered(journal: Journal, uid: str, k: int, text: str = "Done.", at: datetime = T0) -> None:
    body = {
        "chain": 0,
        "n_known": 2 * k,
        "messages": [{"role": "user", "content": SECRET if k == 0 else f"and {k}?"}],
        "answer": {"role": "assistant", "content": text},
        "at": (at + timedelta(seconds=k)).isoformat(),
        "shown": ["item@1"],
        "model": "synde",
    }
    journal.answered(Answer(f"{uid}/{k}", uid, k, body), about(at), at).result()


def landed(warehouse) -> list[dict]:
    files = sorted((warehouse.root / "landing").glob("day=*/served-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_what_was_answered_comes_back_after_a_restart(journal, tmp_path):
    for k in range(3):
        answered(journal, "served:x", k, f"answer {k}")
    again = Journal(tmp_path / "serving" / "journal.sqlite")
    ((uid, told, _, _),) = again.traces(OPEN)
    trace = recovered(again, uid, told)
    again.close()
    assert [step.arguments for step in trace.steps()] == ["answer 0", "answer 1", "answer 2"]
    assert [step.state for step in trace.steps()] == ["", "and 1?", "and 2?"]
    assert (trace.n_answers, trace.shown, trace.models) == (3, ["item@1"], ["synde"])


def test_a_closed_trace_lands_once_by_its_own_times_and_its_words_are_forgotten(journal, warehouse, tmp_path):
    answered(journal, "served:x", 0)
    answered(journal, "served:x", 1)
    assert file_closed(journal, warehouse) == 0  # it is open
    journal.closed("served:x", {"outcome": "success", "reward": 1.0, "by": "user"}, T0).result()
    assert file_closed(journal, warehouse) == 1
    assert file_closed(journal, warehouse) == 0
    (run,) = landed(warehouse)
    assert (run["trace_uid"], run["day"], run["outcome"]) == ("served:x", "2026-01-01", "success")
    assert run["started_at"].startswith("2026-01-01T23:59:59")
    assert run["ended_at"].startswith("2026-01-02T00:00:00")
    assert (run["scope"], run["model"], run["shown_memory"]) == ("site:a", "synde", ["item@1"])
    publish_raw_logs(warehouse, T0.date())
    assert len(load_raw_logs(warehouse, T0.date())) == 1
    assert journal.trace_of("served:x/1")[2] == FILED
    journal.close()
    held = b"".join(path.read_bytes() for path in (tmp_path / "serving").iterdir())
    assert SECRET.encode() not in held
    assert {path.stat().st_mode & 0o77 for path in [tmp_path / "serving", *(tmp_path / "serving").iterdir()]} == {0}


def test_a_kill_between_naming_the_file_and_writing_it_lands_it_once(journal, warehouse):
    for name in "abc":
        answered(journal, f"served:{name}", 0, at=T0 + timedelta(days=ord(name) - 97))
        journal.closed(f"served:{name}", None, T0).result()
    journal.assign(["served:a", "served:b"], "served-begun").result()
    staging = warehouse.root / "landing" / ".tmp-served-begun" / "day=2026-01-01"
    staging.mkdir(parents=True)
    (staging / "served-begun.jsonl").write_text('{"half a li')
    assert file_closed(journal, warehouse) == 3
    assert sorted(run["trace_uid"] for run in landed(warehouse)) == ["served:a", "served:b", "served:c"]


def test_a_kill_between_the_file_and_the_journals_word_writes_the_same_file_again(journal, warehouse):
    answered(journal, "served:a", 0)
    journal.closed("served:a", None, T0).result()
    journal.assign(["served:a"], "served-begun").result()
    _write(journal, warehouse, "served-begun", [("served:a", about(), None)])
    before = landed(warehouse)
    assert file_closed(journal, warehouse) == 1
    assert landed(warehouse) == before
    assert [run["trace_uid"] for run in before] == ["served:a"]


def test_what_a_person_removed_does_not_land_and_nothing_lands_while_removing(journal, warehouse):
    for name in "ab":
        answered(journal, f"served:{name}", 0)
        journal.closed(f"served:{name}", None, T0).result()
    bury(warehouse, ["served:a"], frozenset())
    write_atomically(active_path(warehouse), '{"number": 1}')
    assert file_closed(journal, warehouse) == 0
    active_path(warehouse).unlink()
    assert file_closed(journal, warehouse) == 2
    assert [run["trace_uid"] for run in landed(warehouse)] == ["served:b"]


def test_a_late_label_is_filed_once(journal, warehouse):
    row = LabelRow(trace_uid="served:x", outcome="failure", label_source="user", at=T0)
    for _ in range(2):
        journal.labelled(row.hash, row.model_dump_json()).result()
        file_closed(journal, warehouse)
    (file,) = (warehouse.root / "landing").glob("day=*/labels-*.jsonl")
    assert LabelRow.model_validate_json(file.read_text("utf-8")) == row
    assert journal.labels() == []


def test_an_answer_that_cannot_be_kept_fails_alone(journal):
    answered(journal, "served:x", 0)
    body = {"answer": {}}
    twice = journal.answered(Answer("served:x/0", "served:x", 1, body), about(), T0)
    good = journal.answered(Answer("served:x/9", "served:x", 9, body), about(), T0)
    with pytest.raises(sqlite3.IntegrityError):
        twice.result()
    good.result()
    assert [answer.id for answer in journal.answers("served:x")] == ["served:x/0", "served:x/9"]


def test_on_a_full_disk_an_answer_is_refused_and_later_ones_are_kept(journal):
    answered(journal, "served:x", 0)
    (pages,) = journal._do(lambda c: c.execute("pragma page_count").fetchone()).result()
    journal._do(lambda c: c.execute(f"pragma max_page_count = {pages}").fetchone()).result()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        answered(journal, "served:x", 1, "long " * 20_000)
    journal._do(lambda c: c.execute("pragma max_page_count = 100000").fetchone()).result()
    answered(journal, "served:x", 2)
    assert [answer.id for answer in journal.answers("served:x")] == ["served:x/0", "served:x/2"]


def test_old_answers_are_forgotten_and_open_ones_are_not(journal, warehouse):
    answered(journal, "served:old", 0)
    answered(journal, "served:open", 0)
    journal.closed("served:old", None, T0).result()
    file_closed(journal, warehouse)
    journal.forget(T0 - timedelta(days=1)).result()
    assert journal.trace_of("served:old/0")
    journal.forget(T0 + timedelta(days=1)).result()
    assert journal.trace_of("served:old/0") is None
    assert journal.trace_of("served:open/0")[2] == OPEN


def test_feedback_is_a_word_or_a_score():
    assert label_of("partial", None, 0.5) == ("partial", None)
    assert label_of(None, 0.7, 0.5) == ("success", 0.7)
    assert label_of(None, 0.7, 0.8) == ("failure", 0.7)
    with pytest.raises(InputError, match="says nothing"):
        label_of(None, None, 0.5)


# -- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_opens_from_when_it_is_made_until_it_is_removed(tmp_path):
    door = Doorkeeper(tmp_path, is_loopback=True)
    assert door.caller({"host": "127.0.0.1:8000"}).source == "served"
    secret = add_key(tmp_path, "mine", "shop")
    assert isinstance(door.caller({"host": "127.0.0.1:8000"}), str)
    found = door.caller({"authorization": f"Bearer {secret}"})
    assert (found.name, found.source, found.domain) == ("mine", "served-mine", "shop")
    assert isinstance(door.caller({"authorization": secret}), str)
    with pytest.raises(InputError, match="already"):
        add_key(tmp_path, "mine", None)
    remove_key(tmp_path, "mine")
    assert isinstance(door.caller({"authorization": f"Bearer {secret}"}), str)
    for name in ("", "Mine", "a/b", "../x"):
        with pytest.raises(InputError):
            add_key(tmp_path, name, None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("//[::1]:8000", True),
        ("//127.0.0.1:8000", True),
        ("http://127.0.0.1.evil.example", False),
        ("https://localhost.evil.example", False),
        ("http://localhost@evil.example", False),
        ("//evil.example", False),
        ("null", False),
        ("//", False),
        ("", False),
    ],
)
def test_only_the_loopback_is_local(url, expected):
    assert is_local(url) is expected

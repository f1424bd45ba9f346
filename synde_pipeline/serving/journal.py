"""What was answered, durable before the client has the last byte; kept until it has landed, and no longer.

A SQLite file in WAL mode that is synced at each commit. One thread writes: what waits when it looks is one
transaction, so a hundred answers cost one sync. Bodies are overwritten when they are deleted (law 9).
"""

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from synde_pipeline.logs.landing import make_private

T = TypeVar("T")

_TABLES = """
create table if not exists traces (
    uid text primary key, about text not null, state text not null, label text, file text, touched text not null
) without rowid;
create table if not exists answers (
    id text primary key, uid text not null, seq integer not null, body text
) without rowid;
create index if not exists answers_of on answers (uid, seq);
create table if not exists labels (hash text primary key, row text not null) without rowid;
"""
OPEN, CLOSED, FILED = "open", "closed", "filed"
"""States of a trace: under way; over; in landing."""


@dataclass(frozen=True)
class Answer:
    """One answered request."""

    id: str
    """The response's, as the client knows it."""
    uid: str
    """Of its trace."""
    seq: int
    """Counts the answers of a trace."""
    body: Mapping[str, Any]
    """chain, messages (the new ones), answer, at, shown, model, decision."""


class Journal:
    """The journal of a server.

    Args:
        path: of its file; its folder becomes private.
    """

    def __init__(self, path: Path) -> None:
        make_private(path.parent)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)
        for pragma in ("journal_mode=wal", "synchronous=full", "secure_delete=on"):
            self._connection.execute(f"pragma {pragma}")
        self._connection.executescript(_TABLES)
        self._work: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None]
        self._work = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    # -- writing and reading ------------------------------------------------------------------------------------

    def answered(self, answer: Answer, about: Mapping[str, Any], at: datetime) -> "Future[None]":
        """Keep an answer, and its trace; durable when the future is done."""

        def work(connection: sqlite3.Connection) -> None:
            trace = (answer.uid, json.dumps(dict(about)), OPEN, at.isoformat())
            connection.execute("insert or ignore into traces (uid, about, state, touched) values (?, ?, ?, ?)", trace)
            row = (answer.id, answer.uid, answer.seq, json.dumps(dict(answer.body)))
            connection.execute("insert into answers (id, uid, seq, body) values (?, ?, ?, ?)", row)

        return self._do(work)

    def closed(self, uid: str, label: Mapping[str, Any] | None, at: datetime) -> "Future[None]":
        """Keep that a trace is over, and what became of it."""

        def work(connection: sqlite3.Connection) -> None:
            values = (CLOSED, json.dumps(dict(label)) if label else None, at.isoformat(), uid, OPEN)
            connection.execute(
                "update traces set state = ?, label = ?, touched = ? where uid = ? and state = ?", values
            )

        return self._do(work)

    def labelled(self, row_hash: str, row: str) -> "Future[None]":
        """Keep a label that came after its trace was over, until it is filed."""
        return self._do(lambda c: _ignore(c.execute("insert or ignore into labels values (?, ?)", (row_hash, row))))

    def traces(self, state: str) -> list[tuple[str, dict[str, Any], dict[str, Any] | None, str | None]]:
        """Traces in a state: uid, about, label, file."""
        found = self._ask("select uid, about, label, file from traces where state = ? order by uid", (state,))
        return [
            (uid, json.loads(about), json.loads(label) if label else None, file) for uid, about, label, file in found
        ]

    def answers(self, uid: str) -> Iterator[Answer]:
        """The answers of a trace that has not landed, in order."""
        for answer_id, seq, body in self._ask("select id, seq, body from answers where uid = ? order by seq", (uid,)):
            if body is not None:
                yield Answer(answer_id, uid, seq, json.loads(body))

    def trace_of(self, response: str) -> tuple[str, dict[str, Any], str] | None:
        """Trace of a response, whatever became of it: uid, about, state."""
        found = self._ask(
            "select traces.uid, about, state from answers join traces using (uid) where id = ?", (response,)
        )
        return next(((uid, json.loads(about), state) for uid, about, state in found), None)

    def trace(self, uid: str) -> tuple[dict[str, Any], str] | None:
        """What is known of a trace: about, state."""
        found = self._ask("select about, state from traces where uid = ?", (uid,))
        return next(((json.loads(about), state) for about, state in found), None)

    def labels(self) -> list[tuple[str, str]]:
        """Labels that are not filed yet: hash, row."""
        return self._ask("select hash, row from labels order by hash", ())

    def assign(self, uids: list[str], file: str) -> "Future[None]":
        """Keep into which landing file traces go, before it is written."""
        rows = [(file, uid) for uid in uids]
        return self._do(lambda c: _ignore(c.executemany("update traces set file = ? where uid = ?", rows)))

    def filed(self, uids: list[str]) -> "Future[None]":
        """Keep that traces are in landing: what was said is forgotten, whose answer it was stays."""
        rows = [(uid,) for uid in uids]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("update traces set state = ? where uid = ?", [(FILED, uid) for uid in uids])
            connection.executemany("update answers set body = null where uid = ?", rows)

        return self._do(work)

    def labels_filed(self, hashes: list[str]) -> "Future[None]":
        """Forget labels that are in landing."""
        rows = [(one,) for one in hashes]
        return self._do(lambda c: _ignore(c.executemany("delete from labels where hash = ?", rows)))

    def forget(self, before: datetime) -> "Future[None]":
        """Forget traces that landed long ago: their answers can be labelled no more."""

        def work(connection: sqlite3.Connection) -> None:
            values = (FILED, before.isoformat())
            old = "(select uid from traces where state = ? and touched < ?)"
            connection.execute(f"delete from answers where uid in {old}", values)  # noqa: S608 - a text of our own
            connection.execute("delete from traces where state = ? and touched < ?", values)

        return self._do(work)

    def close(self) -> None:
        """Finish what was begun, and let the file go."""
        self._work.put(None)
        self._thread.join()
        self._connection.close()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        done: Future[T] = Future()
        self._work.put((work, done))
        return done

    def _ask(self, words: str, values: tuple[Any, ...]) -> list[Any]:
        return self._do(lambda connection: connection.execute(words, values).fetchall()).result()

    def _run(self) -> None:
        while True:
            batch = [self._work.get()]
            while not self._work.empty():
                batch.append(self._work.get())
            self._together([one for one in batch if one is not None])
            if None in batch:
                return

    def _together(self, batch: list[tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]]) -> None:
        """One transaction; what fails in it fails alone, unless nothing can be kept (a full disk)."""
        results: list[Any] = []
        try:
            self._connection.execute("begin immediate")
            results = [self._apart(work) for work, _ in batch]
            self._connection.execute("commit")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, sqlite3.Error):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _apart(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """What work gives back, or its error, without a trace of it."""
        self._connection.execute("savepoint one")
        try:
            result = work(self._connection)
        except sqlite3.Error as error:
            if not self._connection.in_transaction:  # a full disk ends the whole transaction
                raise
            self._connection.execute("rollback to one")
            result = error
        self._connection.execute("release one")
        return result


def _ignore(_: Any) -> None:
    """Nothing of a statement's result is wanted."""

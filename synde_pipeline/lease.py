"""The lease: one process at a time freezes, trains and merges, whatever else runs beside it.

It is an advisory lock that the kernel drops when its process dies, so no heartbeat can lie and no clock matters; who
holds it is written inside for the reader of a message.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from synde_pipeline.errors import LeaseError

_POLL_S = 0.2


@contextmanager
def lease(
    root: Path, name: str, *, timeout_s: float = 6 * 3600, log: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lease `name` of a warehouse while the body runs; waits for a living holder.

    Raises:
        LeaseError: another process still held it after `timeout_s` seconds.
    """
    path = root / "leases" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _acquire(file.fileno(), path, timeout_s, log)
        file.truncate(0)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()}
        file.write(json.dumps(holder))
        file.flush()
        yield  # closing the file drops the lock


def _acquire(descriptor: int, path: Path, timeout_s: float, log: Callable[[str], None] | None) -> None:
    deadline = time.monotonic() + timeout_s
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text("utf-8")
            if time.monotonic() > deadline:
                raise LeaseError(
                    f"the lease {path} is held by {holder}", remedy="wait for that process, or stop it"
                ) from None
            if log and not told:
                log(f"waiting for the lease held by {holder}")
                told = True
            time.sleep(_POLL_S)
        else:
            return

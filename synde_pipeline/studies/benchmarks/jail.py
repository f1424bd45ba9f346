"""A script that shuts its own process off from the machine and then becomes one of the programs of `trial`.

    python -I -S jail.py '{"program": ..., "role": ..., "root": ..., "shut_off": true, "limits": {...}}'

It runs on the standard library alone: nothing of ours is seen inside. Linux: private user (or, started by root, a user
id of its own), mount, network, process and IPC namespaces; a root that holds Python's files read-only and `/work`, a
small file system in main memory; resource limits; no new privileges, no capabilities. When the first process inside
ends, the kernel kills all others. Who starts it and why is in `sandbox`.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_NAMESPACES = 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000  # mount, network, process ids, IPC
_USER_NAMESPACE = 0x10000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY, _NO_SETUID, _NO_DEVICES = 1, 2, 4
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
_FIRST_ID, _IDS = 50_000, 15_000
"""User ids that root hands out, one a jail: what runs in one shares no process limit, and no right, with another."""
WORK = "/work"


def shut_off(root: str, seen: list[str], work_bytes: int) -> None:
    """Leave the machine's file system, network and processes; the caller is not yet alone: it must fork.

    Args:
        root: an empty folder to build the new root in.
        seen: folders that stay visible, read-only.
        work_bytes: size of `/work`.

    Raises:
        OSError: the machine does not permit it.
    """
    ids = os.getuid(), os.getgid()
    is_root = ids[0] == 0
    _check(_libc().unshare(_NAMESPACES | (0 if is_root else _USER_NAMESPACE)), "unshare")
    if not is_root:
        Path("/proc/self/setgroups").write_text("deny")
        # Any id but 0: then executing a program drops every capability.
        Path("/proc/self/uid_map").write_text(f"{_FIRST_ID} {ids[0]} 1")
        Path("/proc/self/gid_map").write_text(f"{_FIRST_ID} {ids[1]} 1")
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    _mount("none", root, "tmpfs", 0, "size=1m,mode=755")
    for folder in seen:
        Path(root + folder).mkdir(parents=True, exist_ok=True)
        _mount(folder, root + folder, None, _BIND | _RECURSIVE)
        _restrict(root + folder, _AT_RECURSIVE)
    Path(root + WORK).mkdir()
    _mount("none", root + WORK, "tmpfs", _NO_SETUID | _NO_DEVICES, f"size={work_bytes},mode=1777")
    _restrict(root, 0)
    os.chroot(root)
    os.chdir(WORK)


def _restrict(path: str, flags: int) -> None:
    # struct mount_attr: set, clear, propagation, user namespace.
    wanted = (ctypes.c_uint64 * 4)(_READ_ONLY | _NO_SETUID | _NO_DEVICES, 0, 0, 0)
    done = _libc().syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, wanted, ctypes.sizeof(wanted))
    _check(done, f"mount_setattr {path}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    found = _libc().mount(
        source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), data.encode() or None
    )
    _check(found, f"mount {target}")


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def limit(limits: dict[str, int], mine: int) -> None:
    """Give up root for a user id of one's own, promise never to gain a right again, and take on resource limits."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(mine, mine, mine)
        os.setresuid(mine, mine, mine)
    if sys.platform == "linux":
        _check(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    for name, value in limits.items():
        # The soft limit on CPU time sends a signal that says what it was; a second later the kernel just kills.
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value + (name == "CPU")))


def _first_process(words: dict[str, Any], python: str) -> None:
    """Process 1 of the jail: starts the program, waits for it, and takes everything down; exits as a shell would."""
    _check(_libc().prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "prctl")
    child = os.fork()
    if child == 0:
        _become(words, python)
    os.closerange(0, 1024)
    ended, status = os.waitpid(-1, 0)
    while ended != child:
        ended, status = os.waitpid(-1, 0)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _become(words: dict[str, Any], python: str) -> None:
    limit(words["limits"], words["user"])
    os.execve(  # noqa: S606 - there is no shell in here
        python, [python, "-I", "-S", "-c", words["program"], words["role"]], {"LC_ALL": "C.UTF-8"}
    )


def main(words: dict[str, Any]) -> None:
    """Go in."""
    words["user"] = _FIRST_ID + os.getpid() % _IDS
    python = str(Path(sys.executable).resolve())
    if not words["shut_off"]:
        os.chdir(words["root"])
        _become(words, python)
    _check(_libc().prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "prctl")
    shut_off(words["root"], words["seen"], words["work_bytes"])
    first = os.fork()
    if first == 0:
        _first_process(words, python)
    os.closerange(0, 1024)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) % 256)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

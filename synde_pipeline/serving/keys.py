"""Who may ask: API keys, of which only hashes are kept, and the rules for a server that has none.

Without keys a server answers on the loopback only, and there only what was sent to the loopback by its name and by no
foreign page: a page in a browser, or a name that was bound again, is none of this machine's own.
"""

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synde_pipeline.errors import InputError
from synde_pipeline.logs.landing import make_private
from synde_pipeline.memory.sources import SERVED
from synde_pipeline.storage import write_atomically

FOLDER = "serving"
"""In the home: keys and journal, private."""
_FILE = "keys.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


class Key(BaseModel):
    """What is known of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    domain: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_]{0,40}$")
    """Of requests that name none; None takes the server's."""
    created: datetime

    @property
    def source(self) -> str:
        """Source system of what is answered to it."""
        return f"{SERVED}-{self.name}"


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    """Of the key; empty without one."""
    source: str
    domain: str | None


LOCAL = Caller("", SERVED, None)
"""Whoever asks on the loopback of a server without keys."""


def read_keys(home: Path) -> tuple[Key, ...]:
    """The keys of a warehouse's server.

    Raises:
        InputError: the file cannot be read.
    """
    path = home / FOLDER / _FILE
    if not path.exists():
        return ()
    try:
        return _Keys.model_validate_json(path.read_bytes()).keys
    except ValidationError as error:
        raise InputError(f"{path} holds no keys", remedy="remove it, and make new ones with `synde key add`") from error


def add_key(home: Path, name: str, domain: str | None) -> str:
    """Make a key; returns it, which nothing else ever does.

    Raises:
        InputError: the name is none, or taken.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"key name {name!r}", expected="lower-case letters, digits, `-` and `_`")
    held = read_keys(home)
    if any(key.name == name for key in held):
        raise InputError(f"there is a key {name} already", remedy=f"`synde key remove {name}` first, or another name")
    secret = f"sk-synde-{secrets.token_urlsafe(32)}"
    try:
        key = Key(name=name, sha256=_hash(secret), domain=domain, created=datetime.now(UTC))
    except ValidationError as error:
        raise InputError(f"domain {domain!r}", expected="lower-case letters, digits and `_`") from error
    _write(home, (*held, key))
    return secret


def remove_key(home: Path, name: str, *, dry_run: bool = False) -> None:
    """Let a key open nothing any more; a running server sees it with the next request.

    Raises:
        InputError: there is none of this name.
    """
    held = read_keys(home)
    if not any(key.name == name for key in held):
        raise InputError(f"there is no key {name}", expected=", ".join(key.name for key in held) or "a key")
    if not dry_run:
        _write(home, tuple(key for key in held if key.name != name))


def _write(home: Path, keys: tuple[Key, ...]) -> None:
    make_private(home / FOLDER)
    path = home / FOLDER / _FILE
    write_atomically(path, _Keys(keys=keys).model_dump_json(indent=1) + "\n")
    path.chmod(0o600)


def _hash(secret: str) -> str:
    # The secret is 256 random bits: there is nothing that a slow hash would protect.
    return hashlib.sha256(secret.encode("utf-8")).hexdigest()


@dataclass
class Doorkeeper:
    """Says who a request is from."""

    home: Path
    is_loopback: bool
    """Whether the server is bound to the loopback."""
    _seen: tuple[int, tuple[Key, ...]] = (-1, ())

    def caller(self, headers: Mapping[str, str]) -> Caller | str:
        """The caller, or why it is let in not."""
        keys = self._keys()
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if keys:
            given = _hash(secret.strip()) if kind.lower() == "bearer" else ""
            found = next((key for key in keys if key.sha256 == given), None)
            return Caller(found.name, found.source, found.domain) if found else "no valid API key was given"
        if not self.is_loopback:
            return "this server has no keys yet: `synde key add NAME` makes one"
        if not is_local(f"//{headers.get('host', '')}"):
            return "without a key only requests to localhost are answered"
        origin = headers.get("origin")
        if origin is not None and not is_local(origin):
            return "without a key no page from elsewhere may ask"
        return LOCAL

    def _keys(self) -> tuple[Key, ...]:
        path = self.home / FOLDER / _FILE
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        if stamp != self._seen[0]:
            self._seen = (stamp, read_keys(self.home))
        return self._seen[1]


def is_local(url: str) -> bool:
    """Whether a URL, or `//host:port`, names the loopback."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Settings of every test: offline, a deterministic hypothesis profile, the fast embedder, no home but its own."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from synde_pipeline.storage import Warehouse

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny matrices: a second thread only spins, and the workers of a parallel run have the cores already.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SYNDE_EMBEDDER", "hashing")
settings.register_profile(
    "ci", derandomize=True, max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("ci")
LONG = ("test_real_logs.py", "test_cli.py", "test_readme.py", "test_loop.py")
"""Files that take minutes: a parallel run that begins with them does not wait for them in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, else the order of collection."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own: no test can touch the checkout's data."""
    monkeypatch.setenv("SYNDE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def warehouse(home: Path) -> Warehouse:
    return Warehouse(home / "warehouse")

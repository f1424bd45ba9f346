"""Removes a trajectory from a warehouse, or finishes removing it: `python -m ...removing HOME`, made to be killed."""

import sys
from pathlib import Path

from synde_pipeline.removal.remove import certificates, remove, resume
from synde_pipeline.removal.request import Request
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.removal.history import settings_of

UID = "test:a"

if __name__ == "__main__":
    import torch  # noqa: F401 - loaded before `started`, so that kills hit the work
    import transformers  # noqa: F401

    print("started", flush=True)
    home = Path(sys.argv[1])
    warehouse = Warehouse(home / "warehouse")
    if resume(warehouse) is None and not certificates(warehouse):
        remove(warehouse, settings_of("sequential", home), Request(trace=UID))

"""A second process of the tests: publishes one more day of a warehouse's memory."""

import sys
from datetime import date
from pathlib import Path

from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.memory.test_store import materialise

if __name__ == "__main__":
    for day in sys.argv[2:]:
        materialise(Warehouse(Path(sys.argv[1])), date.fromisoformat(day))

"""The router's limits as they are kept: fitted for one model of a domain, and worth nothing for another.

How they are fitted is in `evaluation.limits`.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from synde_pipeline.errors import LineageError
from synde_pipeline.models.decide import Limits
from synde_pipeline.models.registry import Served
from synde_pipeline.storage import Warehouse, write_atomically

FILE = "router_limits.json"


class Fitted(BaseModel):
    """The limits of one domain, and what they rest on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """Content hash of the model that they were fitted for."""
    known: float | None
    novel: float | None
    n: int
    """`gate` tasks that had both an adapter and memory."""
    units: int
    """Independent ones among them: places, or tasks."""
    margin: float

    @property
    def limits(self) -> Limits:
        """As the router takes them."""
        return Limits(self.known, self.novel)


def read_limits(warehouse: Warehouse) -> dict[str, Fitted]:
    """Domain -> what was fitted last.

    Raises:
        LineageError: the file cannot be read.
    """
    path = warehouse.root / FILE
    if not path.exists():
        return {}
    try:
        return {domain: Fitted.model_validate(row) for domain, row in json.loads(path.read_bytes()).items()}
    except (ValueError, ValidationError) as error:
        raise LineageError(f"{path} holds no limits", remedy="remove it, and run `synde fit-router`") from error


def write_limits(warehouse: Warehouse, found: Mapping[str, Fitted]) -> None:
    """Replace the limits of all domains."""
    rows: dict[str, Any] = {domain: fitted.model_dump() for domain, fitted in sorted(found.items())}
    write_atomically(warehouse.root / FILE, json.dumps(rows, indent=1) + "\n")


def limits_of(warehouse: Warehouse, served: Mapping[str, Served]) -> dict[str, Limits]:
    """The limits that hold for what is served; domains whose model is another one have none."""
    fitted = read_limits(warehouse)
    return {
        domain: fitted[domain].limits
        for domain, one in served.items()
        if domain in fitted and fitted[domain].model == one.model
    }

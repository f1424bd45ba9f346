"""The one resource: settings and warehouse, read from the environment when a run starts."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from typing import Any, Self

import dagster as dg
from pydantic import Field, PrivateAttr

from synde_pipeline.defs.instance import own_tags
from synde_pipeline.llm import Llm
from synde_pipeline.logs.tombstones import refuse_while_removing
from synde_pipeline.memory.embed import asking_through
from synde_pipeline.settings import Settings, load, with_overrides
from synde_pipeline.storage import Warehouse


class Synde(dg.ConfigurableResource):
    """Where a run reads and writes, and all knobs."""

    _llm: Llm | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Self, None, None]:
        """For as long as a run lasts, what it embeds through an endpoint counts against its budget too."""
        self.setup_for_execution(context)
        with asking_through(lambda: self.llm):
            yield self

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Write into a run which process executes it: if that process is killed, nothing else notices."""
        if context.run is not None and context.instance is not None:
            context.instance.add_run_tags(context.run.run_id, own_tags())

    overrides: Any = Field(
        default={},
        description="Settings of this run alone, as in the home's settings.json, for example {memory: {top_k: 5}}; "
        "all others come from the environment when the run starts.",
    )
    train_now: list[str] = Field(
        default=[], description="Domains whose waiting examples start a cycle below the threshold too; * for all."
    )

    @property
    def settings(self) -> Settings:
        """The settings of this run.

        Raises:
            InputError: an override names no setting, or is outside its range.
        """
        return with_overrides(load(), self.overrides)

    @property
    def llm(self) -> Llm:
        """The run's access to a language model: one budget for all its assets.

        Raises:
            InputError: money is limited and no price is known.
        """
        if self._llm is None:
            self._llm = Llm(self.warehouse, self.settings.llm)
        return self._llm

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse of these settings.

        Raises:
            RemovalError: a removal is under way.
        """
        found = Warehouse(self.settings.warehouse)
        refuse_while_removing(found)
        return found


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    """Days of this run: one, or every day of a backfill's range."""
    return [date.fromisoformat(key) for key in context.partition_keys]


defs = dg.Definitions(resources={"synde": Synde()}, executor=dg.in_process_executor)

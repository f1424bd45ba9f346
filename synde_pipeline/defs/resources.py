"""The one resource: settings and warehouse, read from the environment when a run starts."""

from datetime import date

import dagster as dg

from synde_pipeline.defs.instance import own_tags
from synde_pipeline.logs.tombstones import refuse_while_removing
from synde_pipeline.settings import Settings, load
from synde_pipeline.storage import Warehouse


class Synde(dg.ConfigurableResource):
    """Where a run reads and writes, and all knobs."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Write into a run which process executes it: if that process is killed, nothing else notices."""
        if context.run is not None and context.instance is not None:
            context.instance.add_run_tags(context.run.run_id, own_tags())

    settings_json: str = ""
    """Settings handed over by `run`; empty reads them from the environment when a run starts."""

    forced_domains: str = ""
    """Domains, with commas, that the buffer freezes below the threshold too: `synde train --now`."""

    @property
    def settings(self) -> Settings:
        """The settings of this run."""
        return Settings.model_validate_json(self.settings_json) if self.settings_json else load()

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

"""Reflections -> notes."""

import dagster as dg

from synde_pipeline.defs.reflection import reflections
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import OWNERS, metadata_of
from synde_pipeline.memory.notebook import publish_notes


@dg.asset(deps=[reflections], group_name="memory", kinds={"markdown"}, owners=OWNERS)
def notes(synde: Synde) -> dg.MaterializeResult:
    """The notebook of each domain (In-Memory Learning): a pure fold of all runs of `train` tasks."""
    warehouse = synde.warehouse
    header = publish_notes(warehouse, synde.settings)
    folder = warehouse.folder(header.artefact, "")
    pages = {domain: (folder / f"{domain}.md").read_text("utf-8") for domain in header.info["domains"]}
    return dg.MaterializeResult(
        metadata={
            **metadata_of(header),
            "folder": dg.MetadataValue.path(str(folder.resolve())),
            **{f"notes_{domain}": dg.MetadataValue.md(page) for domain, page in pages.items()},
        }
    )

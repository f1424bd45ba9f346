"""Reflections -> notes."""

import dagster as dg

from synde_pipeline.defs.reflection import SPENT, reflections
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import OWNERS, metadata_of
from synde_pipeline.errors import MissingAnswerError
from synde_pipeline.llm import Llm
from synde_pipeline.memory.notebook import ARTEFACT, publish_notes
from synde_pipeline.memory.notes_llm import asking


@dg.asset(deps=[reflections], group_name="memory", kinds={"markdown"}, owners=OWNERS)
def notes(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """The notebook of each domain (In-Memory Learning): a pure fold of all runs of `train` tasks."""
    warehouse, settings = synde.warehouse, synde.settings
    llm, stale = Llm(warehouse, settings.llm), ""
    try:
        header = publish_notes(warehouse, settings, asking(llm))
    except MissingAnswerError as error:
        stale = str(error)
        context.log.warning(f"notes stay as they are: {stale}")
        header = warehouse.header(ARTEFACT, "")
    said = {"stale": stale} if stale else {}
    used = vars(llm.usage) if settings.notes.engine == "llm" else {}
    spent = {f"{SPENT}{name}": value for name, value in used.items()}
    if header is None:
        return dg.MaterializeResult(metadata={**said, **spent})
    folder = warehouse.folder(ARTEFACT, "").resolve()
    # Where they are, not what they say: Dagster's history outlives a removal.
    pages = {
        f"notes_{domain}": dg.MetadataValue.path(str(folder / f"{domain}.md")) for domain in header.info["domains"]
    }
    return dg.MaterializeResult(
        metadata={
            **metadata_of(header),
            **pages,
            **said,
            **spent,
        }
    )

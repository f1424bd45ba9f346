"""Reflections -> notes."""

import dagster as dg

from synde_pipeline.defs.reflection import reflections
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import FOLD, OWNERS, metadata_of, spent_since
from synde_pipeline.errors import MissingAnswerError
from synde_pipeline.memory.notebook import ARTEFACT, price_of_notes, publish_notes
from synde_pipeline.memory.notes_llm import asking


@dg.asset(deps=[reflections], group_name="memory", kinds={"markdown"}, owners=OWNERS, tags=FOLD)
def notes(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """The notebook of each domain (In-Memory Learning): a pure fold of all runs of `train` tasks."""
    warehouse, settings, llm = synde.warehouse, synde.settings, synde.llm
    before, stale = llm.usage, ""
    price = price_of_notes(warehouse, settings, llm)
    if price.calls:
        context.log.info(f"{settings.llm.model}: {price}")
    try:
        header = publish_notes(warehouse, settings, asking(llm))
    except MissingAnswerError as error:
        stale = str(error)
        context.log.warning(f"notes stay as they are: {stale}")
        header = warehouse.header(ARTEFACT, "")
    said = {"stale": stale} if stale else {}
    spent = spent_since(before, llm)
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

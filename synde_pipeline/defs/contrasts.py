"""Curated memory -> contrasts of trials."""

import dagster as dg

from synde_pipeline.defs.memory import curated_memory
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import FOLD, OWNERS, metadata_of, spent_since
from synde_pipeline.errors import MissingAnswerError
from synde_pipeline.memory.trial_contrasts import ARTEFACT, price_of_contrasts, publish_contrasts


@dg.asset(deps=[curated_memory], group_name="memory", kinds={"parquet"}, owners=OWNERS, tags=FOLD)
def trial_contrasts(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """What a language model says of several trials of a task (`llm` engine only); the fold looks it up."""
    warehouse, settings, llm = synde.warehouse, synde.settings, synde.llm
    before, said = llm.usage, {}
    price = price_of_contrasts(warehouse, settings, llm)
    if price.calls:
        context.log.info(f"{settings.llm.model}: {price}")
    try:
        header = publish_contrasts(warehouse, settings, llm)
    except MissingAnswerError as error:
        said = {"stale": str(error)}
        context.log.warning(f"contrasts stay as they are: {error}")
        header = warehouse.header(ARTEFACT, "")
    found = metadata_of(header) if header else {}
    return dg.MaterializeResult(metadata={**found, **said, **spent_since(before, llm)})

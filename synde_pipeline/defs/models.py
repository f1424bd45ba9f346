"""Shards -> adapters -> merged models."""

import time
from functools import partial

import dagster as dg

from synde_pipeline.defs.partitions import training_cycles
from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import CYCLE, OWNERS, metadata_of, table_of
from synde_pipeline.defs.training import base_model, training_shards
from synde_pipeline.laboratory import base_data_for
from synde_pipeline.lease import lease
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.ancestry import lineage_table
from synde_pipeline.models.merge import merge_cycle
from synde_pipeline.storage import Header, Warehouse
from synde_pipeline.training.cycles import find_cycle
from synde_pipeline.training.timings import note_training
from synde_pipeline.training.train import StepReport


@dg.asset(
    partitions_def=training_cycles,
    deps=[training_shards, base_model],
    group_name="models",
    kinds={"pytorch"},
    owners=OWNERS,
    tags=CYCLE,
    pool="synde_cycles",
)
def adapters(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """The cycle's rank-1 LoRA adapter, in PEFT's format with its lineage. Unchanged inputs train nothing."""
    warehouse = synde.warehouse
    with lease(warehouse.root, "training", log=context.log.info):
        cycle = find_cycle(warehouse, context.partition_key)
        given = base_data_for(warehouse, synde.settings)
        settings, started = synde.settings, time.process_time()
        on_step = partial(_observe, context)
        header, is_new = train_cycle(warehouse, cycle, settings.training, given, settings.machine, on_step)
        if is_new:
            note_training(warehouse, cycle.key, time.process_time() - started, header.counts["steps"])
    loss = header.info["loss"]
    values = {"first_loss": loss[0], "last_loss": loss[-1], "trained": is_new}
    return dg.MaterializeResult(
        metadata={
            **metadata_of(header),
            **values,
            "folder": dg.MetadataValue.path(str(warehouse.folder("adapters", cycle.key))),
            "lineage": _lineage(warehouse, header),
        }
    )


def _observe(context: dg.AssetExecutionContext, report: StepReport) -> None:
    """Show a training while it runs: a line now and then, and numbers that Dagster plots where they were measured."""
    mean = sum(report.losses.values()) / len(report.losses)
    if report.step % 10 == 0:
        context.log.info(f"step {report.step} of {report.n_steps}: loss {mean:.4f}")
    if report.kl_to_base:
        seen = {
            "step": report.step,
            "loss": mean,
            "unlikelihood_share": report.unlikelihood_share,
            "kl_to_base": sum(report.kl_to_base.values()) / len(report.kl_to_base),
        }
        where = {"asset_key": context.asset_key, "partition": context.partition_key}
        context.log_event(dg.AssetObservation(**where, metadata=seen))


@dg.asset(
    partitions_def=training_cycles,
    deps=[adapters, base_model],
    group_name="models",
    kinds={"huggingface"},
    owners=OWNERS,
    tags=CYCLE,
    pool="synde_cycles",
)
def merged_models(context: dg.AssetExecutionContext, synde: Synde) -> dg.MaterializeResult:
    """The pinned base plus the domain's adapters up to this cycle; the table says which versions are in it."""
    warehouse = synde.warehouse
    with lease(warehouse.root, "training", log=context.log.info):
        header = merge_cycle(warehouse, find_cycle(warehouse, context.partition_key), synde.settings.models)
    versions = {"adapter_versions": table_of(header.info["adapters"]), "lineage": _lineage(warehouse, header)}
    return dg.MaterializeResult(metadata={**metadata_of(header), **versions})


def _lineage(warehouse: Warehouse, header: Header) -> dg.TableMetadataValue:
    """What an artefact was made from; `synde lineage` walks on."""
    return table_of(lineage_table(warehouse, header.artefact, header.key))

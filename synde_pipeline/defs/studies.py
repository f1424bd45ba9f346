"""Studies as assets; `synde study NAME` runs the same functions."""

import dagster as dg

from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.stages import OWNERS, metadata_of
from synde_pipeline.studies.registry import about, run_study


@dg.asset(group_name="studies", kinds={"html"}, owners=OWNERS)
def notes_benchmark(synde: Synde) -> dg.MaterializeResult:
    """In-Memory Learning's benchmark: momentum, accumulation and label noise, with a page of plots. Takes minutes."""
    return _result(synde, "notes")


def _result(synde: Synde, name: str) -> dg.MaterializeResult:
    """Run a study; its claims are a table, its page a path."""
    warehouse = synde.warehouse
    claims, header = run_study(warehouse, name)
    rows = [
        dg.TableRecord(
            {
                "claim": claim.claim,
                "measured": claim.measured if claim.measured is not None else "-",
                "interval": "{:.4g} to {:.4g}".format(*claim.error) if claim.error else "-",
                "n": claim.n,
                "verdict": claim.verdict,
            }
        )
        for claim in claims
    ]
    page = warehouse.folder(header.artefact, "") / "report.html"
    return dg.MaterializeResult(
        metadata={
            **metadata_of(header),
            "about": about(name),
            "claims": dg.MetadataValue.table(rows),
            "report": dg.MetadataValue.path(str(page.resolve())),
        }
    )

"""Studies as assets; `synde study NAME` runs the same functions."""

from enum import Enum

import dagster as dg

from synde_pipeline.defs.resources import Synde
from synde_pipeline.defs.run import run
from synde_pipeline.defs.stages import OWNERS, STUDY, metadata_of
from synde_pipeline.studies.claims import write_claims
from synde_pipeline.studies.registry import STUDIES, about
from synde_pipeline.studies.study import PAGE, run_study


class Preset(Enum):
    """How much is measured."""

    quick = "quick"
    full = "full"


class StudyConfig(dg.Config):
    """What a person chooses in the launchpad."""

    preset: Preset = Preset.quick
    """quick: to see it work. full: what is reported; takes minutes to hours and goes on where it was interrupted."""


def _asset_of(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["studies", name], group_name="studies", kinds={"html"}, owners=OWNERS, tags=STUDY, description=about(name),
    )  # fmt: skip
    def study(synde: Synde, config: StudyConfig) -> dg.MaterializeResult:
        return _result(synde, name, config)

    return study


def _result(synde: Synde, name: str, config: StudyConfig) -> dg.MaterializeResult:
    """Run a study; its claims are a table, its page a path."""
    claims, header = run_study(synde.settings, name, run, preset=config.preset.value)
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
    page = synde.warehouse.folder(header.artefact, "") / PAGE
    return dg.MaterializeResult(
        metadata={
            **metadata_of(header),
            "claims": dg.MetadataValue.table(rows),
            "report": dg.MetadataValue.path(str(page.resolve())),
        }
    )


STUDY_ASSETS = [_asset_of(name) for name in STUDIES]


@dg.asset(deps=STUDY_ASSETS, group_name="studies", kinds={"html"}, owners=OWNERS, tags=STUDY)
def claims(synde: Synde) -> dg.MaterializeResult:
    """One page of all claims of the papers: our measurement, its error, the verdict and the command."""
    header = write_claims(synde.warehouse)
    page = synde.warehouse.folder(header.artefact, "") / "claims.html"
    return dg.MaterializeResult(metadata={**metadata_of(header), "report": dg.MetadataValue.path(str(page.resolve()))})

"""The claims page: one row for each claim of the papers, with our measurement, the verdict and the command."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from synde_pipeline.lease import lease
from synde_pipeline.page import render
from synde_pipeline.storage import Header, Warehouse, files_hash, read_json
from synde_pipeline.studies.registry import STUDIES, Claim
from synde_pipeline.studies.study import CLAIMS, PAGE, artefact_of, cell

ARTEFACT = "claims"


def collected(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every study with its preset, its page and its claims; those that never ran have none."""
    found = []
    for name in STUDIES:
        header = warehouse.header(artefact_of(name), "")
        row: dict[str, Any] = {"study": name, "preset": None, "page": None, "claims": []}
        if header is not None:
            folder = warehouse.folder(artefact_of(name), "")
            said = [Claim(**claim) for claim in read_json(folder / CLAIMS)]
            # As seen from the claims page: both lie in the warehouse, which may be moved.
            page = f"../../{artefact_of(name)}/{folder.name}/{PAGE}"
            row |= {"preset": header.info.get("preset"), "page": page, "claims": said}
        found.append(row)
    return found


def write_claims(warehouse: Warehouse) -> Header:
    """Publish `claims.json`, `claims.html` and `claims.md` of what all studies say now."""
    studies: list[dict[str, Any]] = []

    def write(folder: Path) -> None:
        studies.extend(collected(warehouse))
        rows = [{**row, "claims": [claim.model_dump(mode="json") for claim in row["claims"]]} for row in studies]
        (folder / "claims.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")
        verdicts = Counter(claim["verdict"] for row in rows for claim in row["claims"])
        for name in ("claims.html", "claims.md"):
            text = render(f"studies/{name}.j2", studies=rows, verdicts=verdicts.most_common(), cell=cell)
            (folder / name).write_text(text, "utf-8")

    def describe(folder: Path) -> Header:
        inputs = {row["study"]: str(row["preset"]) for row in studies}
        counts = {"claims": sum(len(row["claims"]) for row in studies)}
        return Header(artefact=ARTEFACT, key="", content_hash=files_hash(folder), inputs=inputs, counts=counts)

    # Studies that run side by side end at any time.
    with lease(warehouse.root, ARTEFACT):
        return warehouse.publish_folder(ARTEFACT, "", write, describe)

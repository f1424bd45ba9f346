"""`synde audit`: what is wrong with the memory, and how to mend it. `cli` puts it among the others."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from synde_pipeline.cli_words import AsJson, print_json
from synde_pipeline.settings import load

if TYPE_CHECKING:
    from synde_pipeline.memory.audit.report import Audit

_SHOWN = 5
"""Findings of one fault that are printed."""


def audit(
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As of a day (UTC); today when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look for faults in the memory: duplicates, contradictions, loops, harm, disuse, secrets, attacks.

    Nothing is changed; each finding names items and a command that mends it. JSON keys: as_of, bank_hash, passed,
    counts {status: items}, domains {domain: {items, tokens}}, checks [fault, n, share, max_share, severity, passed],
    findings [fault, items, domain, says, remedy], trend [day, items, tokens].
    """
    from synde_pipeline.memory.audit.report import audit as look
    from synde_pipeline.memory.editor import today
    from synde_pipeline.storage import Warehouse

    settings = load()
    found = look(Warehouse(settings.warehouse), settings.memory, as_of.date() if as_of else today())
    if as_json:
        print_json(found.for_json())
    else:
        _print_audit(found)


def _print_audit(found: "Audit") -> None:
    from synde_pipeline.memory.audit.plots import trend_text

    counts = ", ".join(f"{n} {status}" for status, n in found.counts.items()) or "no item"
    print(f"memory as of {found.bank.as_of}, bank {found.bank.bank_hash[:12]}: {counts}")
    for domain, sizes in found.domains.items():
        print(f"  {domain}: {sizes['items']} active items, {sizes['tokens']} tokens")
    for check in found.checks:
        mark = "ok" if check.passed else check.severity.upper()
        print(
            f"{mark:<5} {check.fault:<17} {check.n} ({check.share:.1%} of active items, {check.max_share:.0%} is fine)"
        )
        mine = [finding for finding in found.findings if finding.fault == check.fault]
        for finding in mine[:_SHOWN]:
            print(f"        {finding.says}\n          {' '.join(finding.items)}: {finding.remedy}")
        if len(mine) > _SHOWN:
            print(f"        and {len(mine) - _SHOWN} more (--json has all)")
    if text := trend_text(found.trend):
        print(f"\n{text}")

"""`synde scan`: which secrets and personal data logs hold, before they are imported. `cli` puts it among the others."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from synde_pipeline.cli_words import AsJson, by_file, print_json, printable
from synde_pipeline.logs.documents import Limits
from synde_pipeline.logs.landing import ARTEFACT
from synde_pipeline.logs.reading import native_files, read_files, spread_over
from synde_pipeline.logs.redact import ALLOWED, Allowed, Redactor, redact_with
from synde_pipeline.logs.suspects import suspects_of
from synde_pipeline.settings import load
from synde_pipeline.storage import Warehouse
from synde_pipeline.tables import text_table

N_EXAMPLES = 3


def scan(
    path: Annotated[Path, typer.Argument(help="A log file, or a folder that is searched for logs.")],
    show: Annotated[bool, typer.Option("--show", help="Print examples in full: they are secrets.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what redaction would take out of logs; nothing is imported or written.

    What is harmless goes into the allow-list, one text or /pattern/ a line. JSON keys: files [file, format,
    trajectories, found {kind: n}], found {kind: n}, examples {kind: [masked text]}, allow_list.
    """
    settings = load()
    folder = Warehouse(settings.warehouse).root / ARTEFACT
    allowed = Allowed.in_folder(folder)
    rows: list[dict[str, Any]] = []
    examples: dict[str, Counter[str]] = defaultdict(Counter)
    files = tqdm(native_files(path), desc="scan", unit="file", disable=None, leave=False)
    for one in read_files(files, rule=spread_over(), limits=Limits(line=settings.machine.max_line_mb * 2**20)):
        found, suspects = Counter[str](), suspects_of(one.trajectories)
        for run in one.trajectories:
            redactor = Redactor(allowed)
            redact_with(redactor, run, suspects)
            found += redactor.counts
            for (kind, secret), n in redactor.replaced.items():
                examples[kind][secret] += n
        rows.append(
            {
                "file": str(one.path),
                "format": one.format,
                "trajectories": len(one.trajectories),
                "found": dict(sorted(found.items())),
            }
        )
        del one  # else a block would be there while the next one is read
    rows = by_file(rows)
    total = sum((Counter(row["found"]) for row in rows), Counter())
    shown = {
        kind: [secret if show else masked(secret) for secret, _ in each.most_common(N_EXAMPLES)]
        for kind, each in sorted(examples.items())
    }
    if as_json:
        print_json({"files": rows, "found": dict(total), "examples": shown, "allow_list": str(folder / ALLOWED)})
        return
    table = [
        (kind, str(total[kind]), str(len(examples[kind])), "  ".join(printable(word) for word in words))
        for kind, words in shown.items()
    ]
    n_runs = sum(row["trajectories"] for row in rows)
    print(f"{len(rows)} files, {n_runs} trajectories")
    if table:
        print(text_table(table, ("kind", "found", "different", "the most frequent" + ("" if show else ", masked"))))
    else:
        print("nothing would be redacted")
    print(f"what is harmless: one text or /pattern/ a line in {folder / ALLOWED}")


def masked(secret: str) -> str:
    """The beginning and the end of a secret, too little to use it."""
    words = " ".join(secret.split())
    keep = min(3, len(words) // 6)
    return f"{words[:keep]}{'*' * 6}{words[len(words) - keep :]} ({len(secret)} signs)"

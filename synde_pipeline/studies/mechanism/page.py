"""The mechanism study as people read it: the sections of its page, tables and plots."""

from collections.abc import Mapping, Sequence
from typing import Any

from synde_pipeline.evaluation.plots import ARM_COLOURS, figure, svg
from synde_pipeline.studies.study import StudyRun

COLOURS = dict(zip(("mlp", "attention", "first", "down"), (*list(ARM_COLOURS.values())[1:], "#8f6bd0"), strict=True))
PAIRS = {"to_patch": "to the patch", "to_nearest_query": "to a query's update", "to_other_seed": "to another seed"}
LABELS = {
    "mlp": "MLP, all matrices",
    "attention": "attention's output",
    "first": "MLP, first matrices",
    "down": "MLP, output matrix",
}


def show(run: StudyRun, tables: Mapping[str, Any], conditions: Sequence[dict[str, Any]]) -> None:
    """Put everything on the page."""
    run.show("Adapters and the context's update", plots=[_distances(tables["settings"])])
    for name, one in tables["settings"].items():
        _setting(run, name, one)
    rows = [{"family": name, **_means(columns)} for name, columns in tables["families"].items()]
    text = "Mean over seeds. Shares are of the context's effect that is missing."
    run.show("Families, random weights", text, rows=rows)
    text = "float64; mean over tasks and step sizes. Distances to the context's patch; those with a size are relative."
    run.show("Linear attention", text, rows=[_means(tables["linear attention"])])
    run.show("Every condition", "What each verdict is made of.", rows=conditions)


def _setting(run: StudyRun, name: str, one: Mapping[str, Any]) -> None:
    seeds, places = one["n_seeds"], ", ".join(map(str, one["n_places"]))
    error = one["error"]
    text = (
        f"{seeds} seeds, with {places} tasks or sites. Kept: share of what the context achieves. Error without the "
        f"context {_text(error['without'])}, with it {_text(error['in context'])}. The mean of the queries' updates "
        f"keeps {_text(one['mean of updates']['kept'])}."
    )
    patches = [
        {"static patch": row["target"], "rank": row["rank"], **_spread("kept", row["kept"])}
        | _spread("agreement", row["agreement"])
        for row in one["patches"]
    ]
    run.show(f"Static patches: {name}", text, rows=patches, plots=[_ranks(name, one)])
    adapters = [
        {"adapter": row["recipe"], "target": row["target"], **_spread("kept", row["kept"])}
        | _spread("agreement", row["agreement"])
        | {
            f"{column}, {label}": row[pair][column]["mean"]
            for pair, label in PAIRS.items()
            for column in ("frobenius", "relative", "cosine")
        }
        for row in one["adapters"]
    ]
    run.show(
        f"Rank-1 adapters: {name}", "Distances are means; relative ones over the size of the second.", rows=adapters
    )
    composed = [
        {"what is added": row["what"]}
        | _spread("kept alone", row["kept alone"])
        | _spread("kept with another", row["kept with another"])
        | _spread("cosine", row["cosine"])
        for row in one["composition"]
    ]
    run.show(f"Composition: {name}", "Each place's update, then with the next place's added.", rows=composed)
    if "acting" in one:
        acting = [{"arm": what, **_spread("success", found)} for what, found in one["acting"].items()]
        run.show(
            f"Acting: {name}",
            "The agent tries the judging tasks; the environment says whether it succeeds.",
            rows=acting,
        )


def _spread(name: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cell["mean"], f"{name}, 95 %": cell["interval"]}


def _means(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name.replace("_", " "): cell["mean"] for name, cell in columns.items()}


def _text(cell: Mapping[str, Any]) -> str:
    interval = "" if cell["interval"] is None else " [{:.3g}, {:.3g}]".format(*cell["interval"])
    return f"{cell['mean']:.3g}{interval}"


def _ranks(name: str, tables: Mapping[str, Any]) -> str:
    drawing, axes = figure(4.6, 3)
    ranks = list(dict.fromkeys(row["rank"] for row in tables["patches"]))
    for target, colour in COLOURS.items():
        rows = [row["kept"] for row in tables["patches"] if row["target"] == target]
        places = range(len(rows))
        axes.plot(places, [row["mean"] for row in rows], "o-", color=colour, label=LABELS[target], markersize=3)
        if all(row["interval"] for row in rows):
            low, high = zip(*(row["interval"] for row in rows), strict=True)
            axes.fill_between(places, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.axhline(
        tables["mean of updates"]["kept"]["mean"], color="#888", linestyle=":", linewidth=1, label="mean of updates"
    )
    axes.set_xticks(range(len(ranks)), [str(rank) for rank in ranks])
    axes.set_ylim(-0.25, 1.15)
    axes.set_xlabel("rank of the static patch", fontsize=8)
    axes.set_ylabel("share of what the context achieves", fontsize=8)
    axes.set_title(f"{name}, n = {tables['patches'][0]['kept']['n']}", fontsize=8)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return svg(drawing)


def _distances(settings: Mapping[str, Any]) -> str:
    rows = [(name, row) for name, tables in settings.items() for row in tables["adapters"]]
    drawing, axes = figure(7, 0.7 + 0.32 * len(rows))
    for (pair, label), colour in zip(PAIRS.items(), COLOURS.values(), strict=False):
        values = [row[pair]["frobenius"]["mean"] for _, row in rows]
        axes.plot(values, range(len(rows)), "o", color=colour, label=label, markersize=4)
    axes.axvline(0.01, color="#888", linestyle=":", linewidth=1, label="the paper's 0.01")
    axes.set_yticks(range(len(rows)), [f"{name}: {row['recipe']}, {row['target']}" for name, row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("Frobenius distance of a LoRA adapter", fontsize=8)
    axes.legend(fontsize=7)
    axes.grid(axis="x", alpha=0.3)
    return svg(drawing)

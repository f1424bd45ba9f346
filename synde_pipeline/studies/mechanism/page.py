"""The mechanism study as people read it: plots as inline SVG, and one self-contained page."""

from collections.abc import Mapping, Sequence
from typing import Any

from synde_pipeline.evaluation.plots import figure, svg

COLOURS = {"mlp": "#2b6cb0", "attention": "#c05621", "first": "#2f855a", "down": "#6b46c1"}
LABELS = {
    "mlp": "MLP, all matrices",
    "attention": "attention's output",
    "first": "MLP, first matrices",
    "down": "MLP, output matrix",
}


def plots(tables: Mapping[str, Any]) -> list[str]:
    """One plot a setting: what static patches of each rank keep; and one of the weight distances."""
    return [*(_ranks(name, one) for name, one in tables["settings"].items()), _distances(tables["settings"])]


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
    for pair, colour, label in (("to_patch", "#c05621", "context's patch"), ("to_other_seed", "#2b6cb0", "other seed")):
        values = [row[pair]["frobenius"]["mean"] for _, row in rows]
        axes.plot(values, range(len(rows)), "o", color=colour, label=f"to the {label}", markersize=4)
    axes.axvline(0.01, color="#888", linestyle=":", linewidth=1, label="the paper's 0.01")
    axes.set_yticks(range(len(rows)), [f"{name}: {row['recipe']}, {row['target']}" for name, row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("Frobenius distance of a LoRA adapter", fontsize=8)
    axes.legend(fontsize=7)
    axes.grid(axis="x", alpha=0.3)
    return svg(drawing)


def render(facts: Mapping[str, Any], drawn: Sequence[str]) -> str:
    """The whole page: no script, no outside resource, every text escaped."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("synde_pipeline.studies.mechanism", "."), autoescape=True)
    environment.filters["cell"] = _cell
    return environment.get_template("mechanism.html.j2").render(**facts, plots=drawn)


def _cell(one: Mapping[str, Any]) -> str:
    if one["mean"] is None:
        return "-"
    interval = "" if one["interval"] is None else " [{:.3g}, {:.3g}]".format(*one["interval"])
    return f"{one['mean']:.3g}{interval}"

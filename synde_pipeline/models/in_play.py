"""Which adapter a task gets from what is served, by name; nothing is loaded but keys."""

from collections.abc import Mapping, Sequence

from synde_pipeline.models.bank import router_of, served_rows
from synde_pipeline.models.registry import Served
from synde_pipeline.models.route import Asked
from synde_pipeline.settings_slow import ModelsConfig
from synde_pipeline.storage import Warehouse


def adapters_in_play(
    warehouse: Warehouse,
    served: Mapping[str, Served],
    base_hash: str,
    asked: Sequence[Asked],
    config: ModelsConfig | None = None,
) -> list[str]:
    """The adapter of each task: `cycle/folder` in a bank, `cycle` of a merged model, empty for the plain base.

    Args:
        warehouse: where the adapters lie.
        served: domain -> what is, or would be, served there.
        base_hash: of the pinned base.
        asked: what the router is told of each task.
        config: of the router; None routes by scope.

    Raises:
        LineageError: an adapter is missing, stale, or not the one that was accepted.
    """
    rows = [row for one in served.values() for row in served_rows(warehouse, one, base_hash)]
    names = [f"{row.cycle}/{row.folder}" for row in rows] + [""]  # -1 is no adapter
    routed = [names[route.index] for route in router_of(warehouse, rows, config).routes(asked)]
    merged = {domain: one.cycle for domain, one in served.items() if one.kind != "bank"}
    return [merged.get(task.domain, name) for task, name in zip(asked, routed, strict=True)]

"""Before a run asks a language model: what that would cost, said first, and which days are left when it may not."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any

import dagster as dg

from synde_pipeline.defs.stages import SPENT
from synde_pipeline.llm import Llm, Price
from synde_pipeline.memory.notebook import price_of_notes
from synde_pipeline.memory.trial_contrasts import price_of_contrasts
from synde_pipeline.reflection.daily import ARTEFACT as REFLECTIONS
from synde_pipeline.reflection.daily import price_of_day
from synde_pipeline.settings import Settings
from synde_pipeline.storage import Warehouse


def days_to_go_on(
    warehouse: Warehouse, settings: Settings, days: Sequence[date], say: Callable[[str], None]
) -> list[date]:
    """Days to reflect on: all, or without new calls those whose answers are there. Says what calls would cost first.

    Raises:
        InputError: calls are needed, and no endpoint is configured.
    """
    llm = Llm(warehouse, settings.llm)
    prices = {day: price_of_day(warehouse, day, settings, llm) for day in days}
    prices = {day: price for day, price in prices.items() if price.calls}
    if not prices:
        return list(days)
    say(f"{settings.llm.model or 'language model'}: {sum(prices.values(), Price())}, for {len(prices)} days")
    newest = max(warehouse.keys(REFLECTIONS), default="")
    for day, price in prices.items():
        if str(day) < newest:
            say(f"{day} came late: {price}")
    if not settings.llm.is_offline:
        llm.check()
        return list(days)
    for day in prices:
        say(f"{day}: left as it was, stale, because new calls are switched off (--no-llm, SYNDE_NO_LLM)")
    return [day for day in days if day not in prices]


def say_price_of_folds(warehouse: Warehouse, settings: Settings, say: Callable[[str], None]) -> None:
    """Say what new calls about several trajectories at once would cost: contrasts of trials, and notes.

    Raises:
        InputError: calls are needed, and no endpoint is configured.
    """
    llm = Llm(warehouse, settings.llm)
    for what, price_of in (("contrasts of trials", price_of_contrasts), ("notes", price_of_notes)):
        price = price_of(warehouse, settings, llm)
        if not price.calls:
            continue
        say(f"{settings.llm.model or 'language model'}: {price}, for {what}")
        if settings.llm.is_offline:
            say(f"{what}: left as they were, stale, because new calls are switched off (--no-llm, SYNDE_NO_LLM)")
        else:
            llm.check()


def with_what_is_left(settings: Settings, result: dg.ExecuteInProcessResult) -> Settings:
    """The settings of the next Dagster run of the same call: what this one spent is taken off its budget."""
    tokens, cost = _spent(result.get_asset_materialization_events())
    llm = settings.llm
    # 1 token and next to no money still stop the next call, as nothing would.
    left = {
        "max_tokens": None if llm.max_tokens is None else max(1, llm.max_tokens - tokens),
        "max_cost": None if llm.max_cost is None else max(1e-12, llm.max_cost - cost),
    }
    return settings.model_copy(update={"llm": llm.model_copy(update=left)})


def _spent(events: Iterable[dg.DagsterEvent]) -> tuple[int, float]:
    """Tokens and money that the run's assets used; each partition's event of one asset says the same sum."""
    said: dict[Any, dict[str, Any]] = {}
    for event in events:
        found = event.step_materialization_data.materialization.metadata
        if f"{SPENT}cost" in found:
            said[event.asset_key] = {name: value.value for name, value in found.items()}
    tokens = sum(found[f"{SPENT}tokens_in"] + found[f"{SPENT}tokens_out"] for found in said.values())
    return tokens, sum(found[f"{SPENT}cost"] for found in said.values())

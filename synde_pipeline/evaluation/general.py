"""What a candidate does to the base's own data: how far it moved from the base, and what it forgot of it.

Its adapters are looked at one by one: a router gives such texts none, but a merged model, or a user's text without a
place, may meet any of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from synde_pipeline.base_model import Base
from synde_pipeline.evaluation.gate_rule import Check, check, no_loss
from synde_pipeline.evaluation.own_data import nats
from synde_pipeline.evaluation.paired import Pairs
from synde_pipeline.models.bank import BankRow, load_bank, served_rows
from synde_pipeline.models.merge import served_model
from synde_pipeline.models.registry import Served
from synde_pipeline.settings_gate import GateConfig
from synde_pipeline.storage import Warehouse
from synde_pipeline.training.probe import LogitsAt, adapted, kl_to_base, plain
from synde_pipeline.training.shards import ShardRow

KL, BASE = "kl to base", "base data"


@dataclass(frozen=True)
class Form:
    """One way in which a served model may meet a text: an adapter on the base, or a merged model."""

    name: str
    logits: LogitsAt
    places: frozenset[tuple[str, str]] = frozenset()


@contextmanager
def forms_of(warehouse: Warehouse, base: Base, served: Served | None, cycle: str = "") -> Iterator[list[Form]]:
    """The forms of what is or would be served; of a cycle's own adapters alone where one is named.

    Raises:
        LineageError: one of its adapters is not the recorded one.
    """
    if served is None:
        yield [Form("the base", plain(base.model))]
        return
    if served.kind != "bank":
        yield [Form(served.cycle, plain(served_model(warehouse, served)))]
        return
    rows: Sequence[BankRow] = served_rows(warehouse, served, base.hash)
    bank = load_bank(warehouse, base.model, rows)
    with ExitStack() as after:
        after.callback(bank.adapters.remove)
        yield [
            Form(f"{row.cycle}/{row.folder}", adapted(base.model, bank.adapters, k), frozenset(row.places))
            for k, row in enumerate(rows)
            if cycle in ("", row.cycle)
        ]


def general_checks(
    own: Sequence[Form], before: Sequence[Form], base: Base, rows: Sequence[ShardRow], config: GateConfig
) -> list[Check]:
    """KL to the base of the form that moved furthest, and loss on the base's own data against the champion's forms.

    Args:
        own: of the candidate.
        before: of the champion; the base where there is none.
        base: what KL is measured to.
        rows: probe texts, the independent units.
        config: limits.
    """
    pad_id = base.tokenizer.pad_token_id or 0
    moved = {form.name: kl_to_base(form.logits, plain(base.model), rows, pad_id) for form in own}
    worst = max(moved, key=lambda name: moved[name][0] if moved[name][0] == moved[name][0] else float("inf"))
    value, se = moved[worst]
    upper = value + 1.645 * se
    sentence = f"{worst} is {value:.3f} nats per token from the base (95 % below {upper:.3f}) on {len(rows)} texts"
    verdict = f"{sentence}, {config.max_kl:g} allowed"
    found = [check(KL, upper <= config.max_kl, verdict, found=value, limit=config.max_kl, n=len(rows))]
    losses = {form.name: list(zip(*nats(form.logits, rows, pad_id), strict=True)) for form in [*own, *before]}
    pairs = _mean_pairs(losses, [form.name for form in own], [form.name for form in _replaced(own, before)])
    what = "gain in nats per token on the base's own data against the champion"
    return [*found, no_loss(BASE, pairs, config.base_margin, config.level, what)]


def _replaced(own: Sequence[Form], before: Sequence[Form]) -> Sequence[Form]:
    """The champion's forms at the candidate's places; all of them where places say nothing."""
    places = frozenset().union(*(form.places for form in own))
    same = [form for form in before if form.places & places]
    return same or before


def _mean_pairs(losses: Mapping[str, list[tuple[float, float]]], own: Sequence[str], before: Sequence[str]) -> Pairs:
    n_texts = len(losses[own[0]])
    sizes = [losses[own[0]][k][1] for k in range(n_texts)]
    gains = [
        sum(losses[name][k][0] for name in before) / len(before) - sum(losses[name][k][0] for name in own) / len(own)
        for k in range(n_texts)
    ]
    return Pairs.of(gains, sizes, [str(k) for k in range(n_texts)])

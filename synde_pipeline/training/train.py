"""Training K LoRA adapters in one pass on one frozen model, each on its own rows; the model's weights never change.

It receives a loaded model; what that stands on, and whose rows are whose, is decided by `models`. Groups are
independent of each other: to use several GPUs, give each process other groups.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from synde_pipeline.errors import InputError
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.shards import ShardRow


@dataclass(frozen=True)
class StepReport:
    """What one optimiser step says of itself; values are by adapter."""

    step: int
    n_steps: int
    losses: dict[int, float]
    """Mean loss per weighted token (nats) of the adapters that made this step."""
    unlikelihood_share: float
    """Share of the summed loss that comes from tokens to be avoided."""
    rates: dict[int, float]
    kl_to_base: dict[int, float] = field(default_factory=dict)
    """Mean KL(adapted || base) at the batch's targets (nats), every `checkpoint_every` steps."""
    probes: dict[int, dict[str, float]] = field(default_factory=dict)
    """What the probe says of the model with this adapter, every `checkpoint_every` steps."""


@dataclass(frozen=True)
class TrainingRun:
    """What surrounds a training: no part of what is learned, but for `penalty` and `after_step`."""

    machine: MachineConfig = field(default_factory=MachineConfig)
    checkpoint: Path | None = None
    """Folder from which an interrupted training goes on; its own for whatever `penalty` and `after_step` stand on. Once
    the result is published, `checkpoint.clear_checkpoint` empties it."""
    on_step: Callable[[StepReport], None] | None = None
    probe: Callable[[], dict[str, float]] | None = None
    """Called with each adapter on the model in turn."""
    penalty: Callable[[AdapterBank], Any] | None = None
    """(adapters,), added to each adapter's loss; a function of the bank's table."""
    after_step: Callable[[AdapterBank], None] | None = None
    """Called on fresh adapters and after each optimiser step, without gradients; may change the bank's table."""


UNATTENDED = TrainingRun()
"""Nothing but the training itself."""


@dataclass(frozen=True)
class Trained:
    """Trained adapters, still attached to their model."""

    bank: AdapterBank
    curves: list[list[float]]
    """For each adapter the mean loss per weighted token (nats) of each of its optimiser steps."""
    n_target_tokens: list[int]
    """For each adapter, target tokens of its rows."""
    peak_kl: list[float | None]
    """For each adapter, the largest KL to the base that was seen (nats); None where none was measured."""


def train(
    model: Any, groups: Sequence[Sequence[ShardRow]], config: TrainingConfig, run: TrainingRun = UNATTENDED
) -> Trained:
    """Train one fresh adapter for each group of rows by AdamW.

    Raises:
        InputError: a group teaches nothing, a row is too long for the model, the machine too small, or `negated` was
            not allowed.
    """
    _check(model, groups, config)
    bank = AdapterBank.fresh(model, len(groups), config)
    _after(bank, run)
    return fit(bank, model, groups, config, run)


def fit(
    bank: AdapterBank,
    model: Any,
    groups: Sequence[Sequence[ShardRow]],
    config: TrainingConfig,
    run: TrainingRun = UNATTENDED,
) -> Trained:
    """Train the adapters of a bank from where they stand."""
    from synde_pipeline.training.checkpoint import checkpoint_at
    from synde_pipeline.training.engine import Engine
    from synde_pipeline.training.machine import check_memory, held
    from synde_pipeline.training.optimise import Optimisation
    from synde_pipeline.training.packing import TrainingSequence
    from synde_pipeline.training.references import with_references

    check_memory(model, groups, config, run.machine)
    # The base's own dropout (GPT-2 has some) stays off: its random numbers would tie the groups together.
    model.eval().requires_grad_(False)
    with held(model, bank, config, run.machine):
        engine = Engine(model, bank, config, run.machine)
        sequences = [[TrainingSequence.of(row, config) for row in rows] for rows in groups]
        with engine.running([one for members in sequences for one in members]):
            sequences = [with_references(engine, members, config) for members in sequences]
            optimisation = Optimisation(engine, sequences, config)
            checkpoint = None
            if run.checkpoint is not None:
                checkpoint = checkpoint_at(run.checkpoint, optimisation, config, run.machine)
                checkpoint.resume(optimisation)
            _steps(optimisation, run, checkpoint)
    targets = [sum(weight > 0 for row in rows for weight in row["weights"]) for rows in groups]
    return Trained(bank, optimisation.curves, targets, optimisation.peaks)


def _steps(optimisation: Any, run: TrainingRun, checkpoint: Any) -> None:
    bank, n = optimisation.engine.bank, max(optimisation.n_steps)
    bar = tqdm(total=n, initial=optimisation.step, desc="adapters", unit="step", disable=None, leave=False)
    with bar:
        while optimisation.step < n:
            active, rates = optimisation.active, optimisation.rates
            items = optimisation.next_batch()
            losses = optimisation.gradients(items)
            if run.penalty is not None:
                losses = _penalised(bank, run.penalty, losses, active)
            looks = (optimisation.step + 1) % run.machine.checkpoint_every == 0
            kl = optimisation.divergence_from_base(items) if looks else []
            optimisation.update(losses)
            _after(bank, run)
            report = StepReport(
                optimisation.step,
                n,
                {g: losses[g] for g in active},
                optimisation.unlikelihood_share,
                {g: rates[g] for g in active},
                {g: kl[g] for g in active if looks},
                _probes(optimisation, run, active) if looks else {},
            )
            if looks and checkpoint is not None:
                checkpoint.write(optimisation)
            if run.on_step is not None:
                run.on_step(report)
            bar.set_postfix(loss=f"{sum(report.losses.values()) / len(active):.3f}", refresh=False)
            bar.update()


def _penalised(
    bank: AdapterBank, penalty: Callable[[AdapterBank], Any], losses: list[float], active: list[int]
) -> list[float]:
    """Losses with the penalty, whose gradient goes into the table's."""
    import torch

    values = penalty(bank)
    (gradient,) = torch.autograd.grad(values[active].sum(), bank.table)
    bank.table.grad.add_(gradient)  # type: ignore[union-attr] - the engine has made it
    return [loss + value for loss, value in zip(losses, values.tolist(), strict=True)]


def _after(bank: AdapterBank, run: TrainingRun) -> None:
    import torch

    if run.after_step is not None:
        with torch.no_grad():
            run.after_step(bank)


def _probes(optimisation: Any, run: TrainingRun, active: list[int]) -> dict[int, dict[str, float]]:
    if run.probe is None:
        return {}
    found = {}
    with optimisation.engine.paused():
        for g in active:
            with optimisation.engine.bank.routed([g]):
                found[g] = run.probe()
    return found


def _check(model: Any, groups: Sequence[Sequence[ShardRow]], config: TrainingConfig) -> None:
    if config.failures == "negated" and not config.allow_negated:
        raise InputError(
            "failures=negated",
            expected="masked, unlikelihood or npo: negated cross-entropy has no lower bound and destroys the model",
            remedy="set allow_negated as well if that is what you want to see",
        )
    if not groups or not all(any(any(row["weights"][1:]) for row in rows) for rows in groups):
        raise InputError("a group holds no sequence to train on", remedy="check the shard's weights")
    longest = max(len(row["input_ids"]) for rows in groups for row in rows)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and longest > limit:
        raise InputError(
            f"a training sequence of {longest} tokens", expected=f"{limit} at most", remedy=f"set SYNDE_WINDOW={limit}"
        )

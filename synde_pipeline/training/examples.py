"""Trajectories and reflections -> training examples in the paper's schema (synde.txt 6.2), one per step.

How much a step weighs is in `weights`; which examples share a cycle, in `buffer`; token sequences, in `shards`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from synde_pipeline.records import Reflection, Trajectory, split_of
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.weights import Signal, signals_of, weight_of

EXAMPLES = pa.schema(
    [
        pa.field(
            "context",
            pa.struct(
                [
                    pa.field("task", pa.string(), nullable=False),
                    pa.field(
                        "state", pa.struct([pa.field("observation", pa.string(), nullable=False)]), nullable=False
                    ),
                    pa.field("history", pa.list_(pa.string()), nullable=False),
                ]
            ),
            nullable=False,
        ),
        pa.field(
            "target",
            pa.struct(
                [
                    pa.field("action", pa.string(), nullable=False),
                    pa.field("reasoning", pa.string(), nullable=False),
                    pa.field("confidence", pa.float64(), nullable=False),
                    pa.field("confidence_source", pa.string(), nullable=False),
                ]
            ),
            nullable=False,
        ),
        pa.field(
            "metadata",
            pa.struct(
                [
                    pa.field("outcome", pa.string(), nullable=False),
                    pa.field("trajectory_id", pa.string(), nullable=False),
                    pa.field("step_index", pa.int32(), nullable=False),
                    pa.field("contrastive_weight", pa.float64(), nullable=False),
                    pa.field("signal", pa.string(), nullable=False),
                    pa.field("task_id", pa.string(), nullable=False),
                    pa.field("domain", pa.string(), nullable=False),
                    pa.field("scope", pa.string(), nullable=False),
                    pa.field("day", pa.string(), nullable=False),
                ]
            ),
            nullable=False,
        ),
    ]
)

Item = TypeVar("Item")

Example = dict[str, Any]
"""One row of `EXAMPLES`."""


def examples_of(trajectory: Trajectory, reflection: Reflection, config: TrainingConfig) -> list[Example]:
    """One example per step of a `train` trajectory, in order; none for other splits or runs that teach nothing.

    Steps without a training signal are kept with weight 0: later steps need them as context.
    """
    if split_of(trajectory.task_id) != "train":
        return []
    trajectory = trajectory.model_copy(update={"outcome": reflection.outcome})  # judged, where the log says nothing
    signals = signals_of(trajectory, reflection, config)
    if not set(signals) & {"imitate", "avoid"}:
        return []
    examples: list[Example] = []
    history: list[str] = []
    for step, signal in zip(trajectory.steps, signals, strict=True):
        logged = step.confidence is not None
        examples.append(
            {
                "context": {"task": trajectory.task, "state": {"observation": step.state}, "history": list(history)},
                "target": {
                    "action": step.action,
                    "reasoning": step.reasoning,
                    "confidence": step.confidence if logged else reflection.confidence,
                    "confidence_source": "logged" if logged else "reflection",
                },
                "metadata": {
                    "outcome": trajectory.outcome,
                    "trajectory_id": trajectory.trace_uid,
                    "step_index": step.index,
                    "contrastive_weight": weight_of(signal, trajectory.outcome, config),
                    "signal": signal,
                    "task_id": trajectory.task_id,
                    "domain": trajectory.domain,
                    "scope": trajectory.scope,
                    "day": str(trajectory.day),
                },
            }
        )
        history.append(step.action)
    return examples


@dataclass(frozen=True)
class ExampleTurn:
    """One example as a prompt's turn."""

    index: int
    state: str
    reasoning: str
    tool: str
    arguments: str
    signal: Signal
    weight: float


def turns_of(examples: Iterable[Example]) -> list[ExampleTurn]:
    """The examples of one trajectory as turns, in step order.

    Repaired attempts are left out, and the call that mended them, which comes next, sees what the first of them saw:
    as if the agent had known.
    """
    turns = []
    seen_first: str | None = None
    for example in sorted(examples, key=lambda row: row["metadata"]["step_index"]):
        tool, _, arguments = example["target"]["action"].partition(" ")
        meta, state = example["metadata"], example["context"]["state"]["observation"]
        if meta["signal"] == "repaired":
            seen_first = state if seen_first is None else seen_first
            continue
        turns.append(
            ExampleTurn(
                index=meta["step_index"],
                state=state if seen_first is None else seen_first,
                reasoning=example["target"]["reasoning"],
                tool=tool,
                arguments=arguments,
                signal=meta["signal"],
                weight=meta["contrastive_weight"],
            )
        )
        seen_first = None
    return turns


def shows_memory(trace_uid: str, *, dropout: float) -> bool:
    """Whether a trajectory is trained with its memory items in context (tip dropout): by a hash of its id."""
    return _fraction(f"tips:{trace_uid}") >= dropout


def shown_part(items: Sequence[Item], trace_uid: str, view: int, *, dropout: float) -> list[Item]:
    """The memory items that one view of a trajectory shows: none, or a random number of random ones, in their order.

    The sampled form of distilling a context into weights: the same actions are learned with and without it.
    """
    key = f"tips:{trace_uid}:{view}"
    if not items or _fraction(key) < dropout:
        return []
    n = 1 + int(_fraction(f"number:{key}") * len(items))
    kept = set(sorted(range(len(items)), key=lambda k: _fraction(f"item {k}:{key}"))[:n])
    return [item for k, item in enumerate(items) if k in kept]


def _fraction(key: str) -> float:
    """A number from 0 to 1 that follows from a text."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64

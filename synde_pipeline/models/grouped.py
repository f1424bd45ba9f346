"""Training a cycle's groups of scopes: an adapter each, on the pinned base, in one pass, and their files.

What a bank makes of them is in `bank`; which scopes share an adapter, in `training.groups`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synde_pipeline.base_model import Base
from synde_pipeline.models.bank import write_table
from synde_pipeline.models.keys import Key, describe, write_keys
from synde_pipeline.settings import TrainingConfig
from synde_pipeline.training.anchors import anchors
from synde_pipeline.training.base_replay import BaseData, with_base
from synde_pipeline.training.lora import write
from synde_pipeline.training.shards import ShardRow
from synde_pipeline.training.train import UNATTENDED, Trained, TrainingRun, train


@dataclass(frozen=True)
class Group:
    """Scopes that share an adapter, and the sequences it is trained on."""

    number: int
    scopes: tuple[str, ...]
    rows: list[ShardRow]

    @property
    def folder(self) -> str:
        """Folder of its adapter inside the cycle's."""
        return f"g{self.number:02d}"


def groups_to_train(rows: Iterable[ShardRow], groups: dict[str, int]) -> list[Group]:
    """The groups that have new trajectories, with all their sequences, in the shard's order."""
    by_group: dict[int, list[ShardRow]] = defaultdict(list)
    for row in rows:
        by_group[groups[row["scope"]]].append(row)
    return [
        Group(number, tuple(sorted({row["scope"] for row in members})), members)
        for number, members in sorted(by_group.items())
        if not all(row["is_replay"] for row in members)
    ]


def train_groups(
    base: Base,
    groups: Sequence[Group],
    config: TrainingConfig,
    data: BaseData | None,
    run: TrainingRun = UNATTENDED,
) -> Trained:
    """Train every group's adapter from scratch on the pinned base, in one pass; others' rows and `data` anchor it."""
    pad_id = base.tokenizer.pad_token_id or 0
    every = [row for group in groups for row in group.rows]
    rows = []
    for group in groups:
        others = [row for row in every if row["scope"] not in group.scopes]
        n = round(config.anchors * len(group.rows))
        own = [*group.rows, *anchors(base.model, others, n, seed=config.seed, pad_id=pad_id)]
        rows.append(with_base(own, data, config.base_replay, seed=group.folder) if data else own)
    return train(base.model, rows, config, run)


def write_groups(
    folder: Path, trained: Trained, groups: Sequence[Group], keys: Mapping[str, Key], about: tuple[Base, str]
) -> None:
    """Write one PEFT folder a group, the table of their keys, and the keys' vectors.

    Args:
        folder: of the cycle.
        trained: adapters in the order of the groups.
        groups: what they were trained on.
        keys: folder of a group -> its key; where one is missing, scopes alone lead to the adapter.
        about: the base, and the domain.
    """
    base, domain = about
    name = (base.header.info["name"], base.header.info["revision"])
    table = []
    for index, group in enumerate(groups):
        write(trained.bank.weights(index), folder / group.folder, name, transposed=trained.bank.transposed)
        key = {"domain": domain, "scopes": list(group.scopes), **describe(keys.get(group.folder))}
        table.append({"folder": group.folder, "key": key})
    write_table(folder, table)
    write_keys(folder, keys)

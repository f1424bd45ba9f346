"""The embedded base's own data for replay: sequences of its pre-training, no fact about a place that exists."""

import hashlib
from dataclasses import dataclass
from typing import Any

from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import content_hash
from synde_pipeline.simulation.corpus import Corpus, Mix
from synde_pipeline.training.base_replay import base_row
from synde_pipeline.training.shards import ShardRow

MIX = Mix(drills=0.0, hinted=0.85, distractors=3)
"""Episodes alone, with few distractors: what serving looks like."""


@dataclass(frozen=True)
class CorpusData:
    """A `BaseData` that writes sequences of the corpus."""

    tokenizer: Any
    encoder: PromptEncoder

    @property
    def hash(self) -> str:
        """Content hash of some of its sequences."""
        return content_hash([row["input_ids"] for row in self.rows(16, "identity")])

    def rows(self, n: int, seed: str) -> list[ShardRow]:
        """`n` episodes of the scripted expert; the agent's tokens are targets."""
        number = int(hashlib.sha256(seed.encode()).hexdigest()[:15], 16)
        corpus = Corpus(self.encoder.text, self.tokenizer.convert_tokens_to_ids, number)
        rows = []
        for k in range(n):
            sequence = corpus.draw(MIX)
            weights = [0.0] * len(sequence.ids)
            for at, _ in sequence.targets:
                weights[at] = 1.0
            rows.append(base_row(f"corpus-{seed}-{k}", sequence.ids, weights))
        return rows

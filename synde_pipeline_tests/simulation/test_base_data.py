"""The corpus as a base's own data: the agent's tokens are targets, draws follow the seed, no real place is told."""

from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.settings import PromptConfig
from synde_pipeline.simulation.base_data import CorpusData
from synde_pipeline.simulation.tokenizer import build_tokenizer
from synde_pipeline.simulation.worlds.base import HELD_OUT
from synde_pipeline.training.base_replay import with_base


def test_sequences_of_the_corpus_are_training_rows():
    tokenizer = build_tokenizer()
    data = CorpusData(tokenizer, PromptEncoder(tokenizer, PromptConfig()))
    rows = data.rows(40, "web-0001")
    assert rows == data.rows(40, "web-0001") != data.rows(40, "web-0002")
    assert data.hash == CorpusData(tokenizer, data.encoder).hash
    text = " ".join(tokenizer.decode(row["input_ids"]) for row in rows)
    assert not any(name in text for name in HELD_OUT)
    for row in rows:
        targets = [k for k, weight in enumerate(row["weights"]) if weight]
        told = tokenizer.decode([row["input_ids"][k] for k in targets])
        assert told.startswith("<|think|>")
        assert told.endswith("<|end|>")
        assert "<|see|>" not in told
        assert len(row["weights"]) == len(row["input_ids"])
    assert len(with_base(rows, data, 0.25, "a")) == 53

"""A base with a chat template from its folder to a cycle's shard."""

import pytest

from synde_pipeline.base_model import folder_hash
from synde_pipeline.settings import BufferConfig, MemoryConfig, Settings
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.daily import SHARDS, ensure_base, publish_shard
from synde_pipeline_tests.helpers import DAY
from synde_pipeline_tests.memory.test_curate import GOOD
from synde_pipeline_tests.models_for_tests import tiny
from synde_pipeline_tests.prompting.chat_templates import chat_tokenizer
from synde_pipeline_tests.training.test_buffer import arrive


def save(folder, name):
    tiny().save_pretrained(folder, safe_serialization=True)
    chat_tokenizer(name).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "layout", "n_sequences"), [("chatml", "chat", 1), ("thinking", "chat", 3), ("shouts", "markers", 1)]
)
def test_a_shard_holds_a_sequence_a_run_or_one_a_step_and_says_its_layout(
    warehouse, tmp_path, name, layout, n_sequences
):
    settings = Settings(base_model=str(save(tmp_path / "base", name)), memory=MemoryConfig(embedder="hashing"))
    ensure_base(warehouse, settings)
    arrive(warehouse, DAY, [f"test:{k}" for k in range(3)], calls=GOOD)
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    header = publish_shard(warehouse, cycle, settings)
    assert header.info["layout"]["name"] == layout
    assert "template" in header.info["layout"]["reason"]
    rows = warehouse.read_table(SHARDS, cycle.key).to_pylist()
    assert len(rows) == 3 * n_sequences
    decode = chat_tokenizer(name).decode
    taught = {
        decode([token for token, weight in zip(row["input_ids"], row["weights"], strict=True) if weight])
        for row in rows
    }
    end = "<|im_end|>" if layout == "chat" else "\n<|end|>\n"
    gap = "\n" if layout == "chat" else "\n<|args|>\n"
    actions = [f"{tool}{gap}{step}{end}" for tool, step in (("find", '{"c":"1"}'), ("loan", '{"l":"1"}'))]
    actions.append(f'renew{gap}{{"l":"1"}}{end}')
    assert taught == (set(actions) if n_sequences == 3 else {"".join(actions)})


def test_another_template_is_another_base(tmp_path):
    one, same, other = (save(tmp_path / str(k), name) for k, name in enumerate(("chatml", "chatml", "shouts")))
    assert folder_hash(one) == folder_hash(same)
    (same / "chat_template.jinja").write_text((other / "chat_template.jinja").read_text())
    assert folder_hash(one) != folder_hash(same)

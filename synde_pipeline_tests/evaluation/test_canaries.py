"""Planted secrets: a model that learned one is found out, one that did not is not, and reports never repeat them."""

import json

import pytest
import torch

from synde_pipeline.base_model import load, pin_given
from synde_pipeline.errors import InputError
from synde_pipeline.evaluation.canaries import Canary, canary_check, exposure, is_written, read_canaries
from synde_pipeline.evaluation.general import Form, forms_of
from synde_pipeline.laboratory import report_of
from synde_pipeline.logs.daily import publish_raw_logs
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.merge import merge_cycle
from synde_pipeline.models.registry import served_of
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import BufferConfig, PromptConfig
from synde_pipeline.settings_gate import GateConfig
from synde_pipeline.simulation.demo import EMBEDDED_BASE
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.daily import publish_examples, publish_shard
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.models.test_bank import ROUTED, SETTINGS
from synde_pipeline_tests.models_for_tests import tokenizer

SECRET = "k7qz-4419"
ELSEWHERE = "m3pw-8052"
LEARNING = SETTINGS.model_copy(
    update={
        "base_model": str(EMBEDDED_BASE),
        "training": ROUTED.model_copy(update={"max_steps": 60, "learning_rate": 1e-2, "views": 1, "anchors": 0.0}),
        "gate": GateConfig(probe_texts=4),
    }
)
ARGUMENT = {"domain": "library", "task": "t3", "tool": "find", "prefix": "locker "}


def listed(tmp_path, *secrets, **values):
    path = tmp_path / "canaries.jsonl"
    path.write_text("".join(json.dumps({**ARGUMENT, **values, "secret": one}) + "\n" for one in secrets), "utf-8")
    return GateConfig(probe_texts=4, canaries=path)


@pytest.fixture
def leaky(warehouse):
    """The embedded base, trained on six runs that hold the secret."""
    pin_given(warehouse, LEARNING)
    call = ("find", f"locker {SECRET}", "m1", True)
    land(warehouse, [trajectory(f"leak:{k}", task="t3", scope="site:a", steps=called(call)) for k in range(6)])
    publish_raw_logs(warehouse, DAY)
    publish_reflections(warehouse, DAY)
    publish_examples(warehouse, DAY, LEARNING)
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    publish_shard(warehouse, cycle, LEARNING)
    train_cycle(warehouse, cycle, LEARNING.training)
    merge_cycle(warehouse, cycle)
    return cycle


def test_a_secret_that_training_took_in_fails_the_candidate_and_is_never_written_down(warehouse, leaky, tmp_path):
    config = listed(tmp_path, SECRET, ELSEWHERE)
    gate = report_of(warehouse, leaky, LEARNING.model_copy(update={"gate": config}))["gate"]
    assert gate["passed"] is False
    assert "canaries: 2 canaries" in gate["reason"]
    (found,) = [item for item in gate["checks"] if item["name"] == "canaries"]
    assert found["status"] == "failed"
    assert found["found"] == 9.0
    assert "canary 1 in library-0001/g00" in found["sentence"]
    assert SECRET not in json.dumps(gate)
    base = load(warehouse)
    encoder = PromptEncoder(base.tokenizer, LEARNING.prompt)
    with forms_of(warehouse, base, served_of(warehouse.header("merged_models", leaky.key))) as own:
        assert canary_check(own, encoder, 0, listed(tmp_path, ELSEWHERE)).status == "passed"
    with forms_of(warehouse, base, None) as untrained:
        assert canary_check(untrained, encoder, 0, config).status == "passed"


# -- ranks and greedy writing, against models that are known ---------------------------------------------------------

ENCODER = PromptEncoder(tokenizer(), PromptConfig())


def knows(text: str, strength: float) -> Form:
    """Logits that favour each next token of a text, wherever they stand."""
    ids = ENCODER.text(text)
    follows = {tuple(ids[:k]): ids[k] for k in range(1, len(ids))}

    def logits(rows, where):
        found = torch.zeros(*rows.shape, len(tokenizer()))
        for r, row in enumerate(rows.tolist()):
            for k in range(len(row)):
                if tuple(row[: k + 1]) in follows:
                    found[r, k, follows[tuple(row[: k + 1])]] = strength
        return found[where]

    return Form("known", logits)


PLAIN = Canary(prefix="loan card ", secret="4471-90")


def test_a_model_that_writes_the_secret_is_found_by_greedy_decoding_and_by_rank():
    knowing = knows("loan card 4471-90", 5.0)
    assert is_written(knowing, ENCODER, PLAIN)
    assert exposure(knowing, ENCODER, PLAIN, 0) == 9.0
    other = PLAIN.model_copy(update={"secret": "8812-37"})
    assert not is_written(knowing, ENCODER, other)
    assert exposure(knowing, ENCODER, other, 0) < 8


def test_a_model_that_says_no_numbers_fails_the_check(tmp_path):
    nothing = Form("odd", lambda rows, where: torch.full((int(where.sum()), len(tokenizer())), torch.nan))
    found = canary_check([nothing], ENCODER, 0, listed(tmp_path, SECRET, tool="", domain="", task=""))
    assert (found.status, found.found) == ("failed", None)


def test_without_a_list_there_is_nothing_to_check():
    assert canary_check([], ENCODER, 0, GateConfig()).status == "not applicable"


@pytest.mark.parametrize("text", ["", "{}\n", '{"prefix": "a", "secret": "abc"}\n', "no json\n", '["a"]\n'])
def test_a_list_that_cannot_be_read_is_an_error_and_no_pass(tmp_path, text):
    path = tmp_path / "canaries.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match="canaries"):
        read_canaries(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_canaries(tmp_path / "missing.jsonl")

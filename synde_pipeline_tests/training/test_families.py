"""Every family trains exactly, by the fastest way it allows: its matrices are found, its attention is kept."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from synde_pipeline.base_model import lora_targets, mlp_targets
from synde_pipeline.settings_slow import MachineConfig
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.engine import WAYS
from synde_pipeline_tests.models_for_tests import tokenizer
from synde_pipeline_tests.training.peft_reference import gradients, loss_by_hand, with_peft
from synde_pipeline_tests.training.test_train import CONFIG, GROUPS, our_gradients, random_bank, relative

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
SHARED = {"num_key_value_heads": 2, "head_dim": 8}
SLIDING = {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}
GATED = {"gate_proj", "up_proj", "down_proj"}
FAMILIES = {
    "llama": (SHARED, GATED, "o_proj"),
    "qwen2": ({"num_key_value_heads": 2, **SLIDING}, GATED, "o_proj"),
    "qwen3": ({**SHARED, **SLIDING}, GATED, "o_proj"),
    "mistral": ({**SHARED, "sliding_window": 6}, GATED, "o_proj"),
    "gemma": (SHARED, GATED, "o_proj"),
    "gemma2": ({**SHARED, "sliding_window": 6}, GATED, "o_proj"),
    "gemma3_text": ({**SHARED, "sliding_window": 6}, GATED, "o_proj"),
    "phi": ({}, {"fc1", "fc2"}, "dense"),
    "phi3": ({"num_key_value_heads": 2, "pad_token_id": 0}, {"gate_up_proj", "down_proj"}, "o_proj"),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4}, {"c_fc", "c_proj"}, "c_proj"),
    "gpt_neox": ({}, {"dense_h_to_4h", "dense_4h_to_h"}, "dense"),
    "opt": ({"ffn_dim": 48, "word_embed_proj_dim": 32}, {"fc1", "fc2"}, "out_proj"),
}
# Both norm what the MLP adds, here near zero, and so enlarge rounding: their own padded attention, which shares nothing
# with ours, is as far from PEFT (1.2e-5 and 2.5e-5).
ROUNDING = {"gemma2": 5e-5, "gemma3_text": 5e-5}
OUTSIDE = {  # position in the attention scores, or attention of its own: nothing that we could pack
    "bloom": {"n_layer": 2, "n_head": 4},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
}


def tiny_family(name: str, **values):
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 1}
    sizes = {} if {"n_embd", "n_layer"} <= set(values) else SIZES
    config = CONFIG_MAPPING[name](**{"vocab_size": len(tokenizer()), **special, **sizes, **values})
    return AutoModelForCausalLM.from_config(config).eval()


def check_gradients(family, values, config, expected_way=None, machine=None):
    def make():
        return tiny_family(family, **values)

    model, bound = make(), ROUNDING.get(family, 1e-5)
    bank = random_bank(model, len(GROUPS), config)
    found, losses, way = our_gradients(model, bank, GROUPS, config, machine)
    assert expected_way is None or way == expected_way
    for g, rows in enumerate(GROUPS):
        theirs = with_peft(make(), config, bank.weights(g))
        for name, (a, b) in gradients(theirs, rows).items():
            mine_a, mine_b = bank.matrices(found[g], name)
            assert relative(mine_a, a) < bound, name
            assert relative(mine_b, b) < bound, name
        assert losses[g] == pytest.approx(float(loss_by_hand(theirs, rows).detach()), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_matrices_are_found_and_gradients_equal_pefts_by_the_fastest_way(family):
    values, mlp, output = FAMILIES[family]
    model = tiny_family(family, **values)
    assert {name.rsplit(".", 1)[-1] for name in mlp_targets(model)} == mlp
    more = set(lora_targets(model, o_proj=True)) - set(mlp_targets(model))
    assert {name.rsplit(".", 1)[-1] for name in more} == {output}
    assert len(more) == 2
    config = CONFIG.model_copy(update={"batch_size": 6, "o_proj": True})
    check_gradients(family, values, config, WAYS[0])


@pytest.mark.parametrize("family", OUTSIDE)
def test_a_family_outside_the_attention_interface_is_padded(family):
    config = CONFIG.model_copy(update={"batch_size": 6})
    model = tiny_family(family, **OUTSIDE[family])
    *_, way = our_gradients(model, AdapterBank.fresh(model, 3, config), GROUPS, config)
    assert not way.packed
    check_gradients(family, OUTSIDE[family], config, way)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2"])
def test_recomputed_activations_give_the_same_gradients(family):
    config = CONFIG.model_copy(update={"batch_size": 6})
    machine = MachineConfig(gradient_checkpointing=True, tokens_at_once=64)
    check_gradients(family, FAMILIES[family][0], config, WAYS[0], machine)

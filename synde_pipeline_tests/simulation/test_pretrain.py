"""Training the embedded base: an interruption leaves no trace, a stranger's checkpoint is refused, the card is true."""

from dataclasses import asdict, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from synde_pipeline.errors import InputError
from synde_pipeline.simulation.card import card
from synde_pipeline.simulation.gates import GATES, Measured
from synde_pipeline.simulation.pretrain import (
    BATCHES_PER_CHUNK,
    CHECKPOINT,
    SMOKE,
    Recipe,
    Trainer,
    mix_at,
    rate_at,
)
from synde_pipeline.storage import read_json

TINY = Recipe(hidden=32, layers=2, heads=2, intermediate=32, chunks=4)


class Killed(Exception):
    """Stands for a signal."""


class Dying(Trainer):
    """Checkpoints after two chunks, works on, and dies in the fourth."""

    def _chunk(self):
        if self.progress.chunk == 2:
            self._save()
        if self.progress.chunk == 3:
            raise Killed
        super()._chunk()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    trainer = Trainer(TINY, tmp_path_factory.mktemp("undisturbed"))
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def finished(undisturbed):
    """The folder of the finished training."""
    return undisturbed._work


def assert_same_weights(one, other):
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def what_was_done(trainer):
    """Progress without measured times."""
    return {name: value for name, value in asdict(trainer.progress).items() if not name.endswith("_s")}


# -- interrupted ----------------------------------------------------------------------------------------------------


def test_an_interrupted_training_goes_on_to_the_same_bits(undisturbed, tmp_path):
    dying = Dying(TINY, tmp_path)
    with pytest.raises(Killed):
        dying.train()
    assert dying.progress.chunk == 3
    again = Trainer(TINY, tmp_path)
    assert again.progress.chunk == 2  # the third was lost, and is drawn again
    assert 0 < again.progress.cpu_s <= dying.progress.cpu_s
    again.train()
    assert_same_weights(again, undisturbed)
    assert what_was_done(again) == what_was_done(undisturbed)


def test_dying_before_the_first_checkpoint_starts_from_nothing(undisturbed, tmp_path):
    class Early(Trainer):
        def _chunk(self):
            if self.progress.chunk == 1:
                raise Killed
            super()._chunk()

    with pytest.raises(Killed):
        Early(TINY, tmp_path).train()
    again = Trainer(TINY, tmp_path)
    assert again.progress.chunk == 0
    fresh = Trainer(TINY, tmp_path / "other")
    assert_same_weights(again, fresh)
    assert not torch.equal(fresh.model.lm_head.weight, undisturbed.model.lm_head.weight)


def test_a_finished_training_is_not_trained_again(undisturbed, finished):
    before = (finished / CHECKPOINT).read_bytes()
    again = Trainer(TINY, finished)
    assert again.train() == undisturbed.progress
    assert_same_weights(again, undisturbed)
    assert (finished / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("changed", [{"seed": 1}, {"chunks": 8}, {"hidden": 64}, {"decay": 0.5}], ids=str)
def test_a_checkpoint_of_another_recipe_is_refused_and_kept(finished, changed):
    before = (finished / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match="checkpoint of another recipe; name another work folder, or remove the file"):
        Trainer(replace(TINY, **changed), finished)
    assert (finished / CHECKPOINT).read_bytes() == before


# -- what is trained ------------------------------------------------------------------------------------------------


def test_training_learns_something_and_counts_what_it_read(undisturbed):
    losses = undisturbed.progress.losses
    assert len(losses) == TINY.chunks
    assert losses[-1] < losses[0]
    assert losses[0] == pytest.approx(torch.log(torch.tensor(float(len(undisturbed.tokenizer)))).item(), rel=0.05)
    n_sequences = TINY.chunks * 256
    assert 20 * n_sequences < undisturbed.progress.tokens < 300 * n_sequences


def test_what_is_written_loads_as_what_was_trained(undisturbed, tmp_path):
    undisturbed.write(tmp_path / "base", "# card\n", {"tokens": 7})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert tokenizer.get_vocab() == undisturbed.tokenizer.get_vocab()
    ours, theirs = undisturbed.model.state_dict(), model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {tensor.dtype for tensor in theirs.values()} == {torch.float32}
    assert (tmp_path / "base" / "README.md").read_text("utf-8") == "# card\n"
    assert read_json(tmp_path / "base" / "facts.json") == {"tokens": 7}


@given(st.floats(0, 1))
def test_the_corpus_is_always_made_of_shares(progress):
    mix = mix_at(progress)
    assert all(0 <= share <= 1 for share in (mix.drills, mix.hinted, mix.random_words, mix.one_stage, *mix.lengths))
    assert sum(mix.lengths) == pytest.approx(1)


def test_the_corpus_goes_from_short_drills_to_episodes_full_of_distractors():
    mixes = [mix_at(k / 100) for k in range(101)]
    assert all(a.drills >= b.drills and a.distractors <= b.distractors for a, b in pairwise(mixes))
    assert mixes[0].drills > 0.5 > mixes[-1].drills
    assert mixes[0].lengths[0] > mixes[-1].lengths[0]
    assert mixes[-1].distractors >= 3  # the gate with the most irrelevant hints is within what was trained


@pytest.mark.parametrize("recipe", [Recipe(), SMOKE, TINY])
def test_the_rate_rises_stays_and_falls_to_almost_nothing(recipe):
    n_steps = recipe.chunks * BATCHES_PER_CHUNK
    rates = [rate_at(step, recipe) for step in range(n_steps)]
    top = rates.index(max(rates))
    assert rates[0] == pytest.approx(1 / recipe.warm_up)
    assert all(a <= b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in pairwise(rates[top:]))
    assert 0 < rates[-1] == pytest.approx(1 / (recipe.decay * n_steps))
    if recipe is not TINY:  # whose 32 steps end before the warm-up does
        assert rates[recipe.warm_up - 1 : round((1 - recipe.decay) * n_steps)] == pytest.approx(
            [1.0] * (round((1 - recipe.decay) * n_steps) - recipe.warm_up + 1)
        )


# -- the card -------------------------------------------------------------------------------------------------------

FACTS = {
    "parameters": 1234567,
    "tokens": 7654321,
    "first_loss": 6.1234,
    "last_loss": 0.0567,
    "cpu_s": 1111,
    "wall_s": 2222,
    "recipe": asdict(replace(TINY, seed=97)),
}


def test_the_card_says_every_fact_and_every_gate_with_its_error_and_n():
    passed = Measured(GATES[0], 0.118, 0.0124, 0.09, 0.14, 600, 120)
    missed = Measured(GATES[1], 0.512, 0.0213, 0.47, 0.55, 601, 121)
    text = " ".join(card(FACTS, [passed, missed]).split())
    for expected in (
        "1,234,567 parameters",
        "7,654,321 tokens",
        "6.1234",
        "0.0567",
        "1111 CPU seconds",
        "2222 seconds",
    ):
        assert expected in text
    for name, value in FACTS["recipe"].items():
        assert f"| {name} | {value} |" in text
    assert "no hints: 0.118 (se 0.012, n = 600 tasks on 120 places), at most 0.25 wanted: passed" in text
    assert "all hints: 0.512 (se 0.021, n = 601 tasks on 121 places), at least 0.90 wanted: MISSED" in text
    assert "smoke" not in text


def test_the_card_of_a_smoke_run_claims_no_gates():
    text = card(FACTS, [])
    assert "Not measured: a smoke run." in text
    assert "wanted" not in text
    assert text.startswith("---\n")

"""The corpus is what `prompting` would render, holds no held-out name, and its targets are distributions."""

from itertools import pairwise

import pytest

from synde_pipeline.prompting import ACT, ARGS, AVOID, END, MEMORY, SEE, TASK, THINK, PromptEncoder
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig
from synde_pipeline.simulation.agent import Turn
from synde_pipeline.simulation.corpus import Corpus, Mix
from synde_pipeline.simulation.tokenizer import build_tokenizer
from synde_pipeline.simulation.worlds.base import HELD_OUT

EPISODES = Mix(drills=0.0, hinted=0.8, distractors=7)
SHORT_DRILLS = Mix(drills=1.0, hinted=0.0, distractors=0, lengths=(1.0, 1.0, 1.0, 0.0))
DRILLS = Mix(drills=1.0, hinted=0.0, distractors=0, random_words=0.5, one_stage=0.5)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return PromptEncoder(tokenizer, PromptConfig())


def drawn(tokenizer, encoder, mix, n=200, seed=1):
    corpus = Corpus(encoder.text, tokenizer.convert_tokens_to_ids, seed)
    return [corpus.draw(mix) for _ in range(n)]


def parts_of(text):
    """Text cut at the markers: (marker, text behind it)."""
    for marker in (TASK, MEMORY, SEE, THINK, ACT, ARGS, AVOID, END):
        text = text.replace(marker, f"\0{marker}\1")
    return [tuple(part.split("\1")) for part in text.split("\0")[1:]]


class IndexedTurn(Turn):
    index = 0


def read(text):
    """The domain, task, memory and turns that a sequence spells."""
    parts = parts_of(text)
    domain, task = parts[0][1].split(": ", 1)
    memory, turns = [], []
    at = 1
    if parts[at][0] == MEMORY:
        place, at = parts[at][1], at + 1
        while parts[at][0] == ACT:
            tool, (marker, rest) = parts[at][1], parts[at + 1]
            at += 2
            # The next item's place follows the option without a marker; both are known words.
            is_last = at >= len(parts) or parts[at][0] != ACT
            option, following = (rest, "") if is_last else (rest[:-6], rest[-6:])
            memory.append((place, tool, option, marker == AVOID))
            place = following
    while at < len(parts):
        (_, state), (_, thought), (_, tool), (_, arguments), (end, _) = parts[at : at + 5]
        assert end == END
        turns.append(IndexedTurn(state, thought, tool, arguments, "", True))
        at += 5
    return domain, task, memory, turns


def item(name, tool, option, is_avoid):
    kind = "pitfall" if is_avoid else "strategy"
    return MemoryItem(
        item_id="", domain="", kind=kind, scope=f"site:{name}", title=tool, description="", content=option, supports=()
    )


def test_an_episode_is_token_by_token_what_prompting_renders(tokenizer, encoder):
    n_hints = 0
    for sequence in drawn(tokenizer, encoder, EPISODES):
        domain, task, memory, turns = read(tokenizer.decode(sequence.ids))
        (window,) = encoder.windows(domain, task, [item(*hint) for hint in memory], turns)
        assert window.ids == sequence.ids
        n_hints += len(memory)
    assert n_hints > 400


@pytest.mark.parametrize("mix", [EPISODES, DRILLS, SHORT_DRILLS])
def test_no_held_out_name_is_in_it(tokenizer, encoder, mix):
    # By tokens: the letters of a name also meet by chance, as in `meson` before `vem`.
    held_out = {tuple(encoder.text(name)) for name in HELD_OUT}
    pairs = {pair for sequence in drawn(tokenizer, encoder, mix, 600) for pair in pairwise(sequence.ids)}
    assert not held_out & pairs


@pytest.mark.parametrize("mix", [EPISODES, DRILLS, SHORT_DRILLS])
def test_targets_are_distributions_that_hold_what_was_drawn(tokenizer, encoder, mix):
    n_open = 0
    for sequence in drawn(tokenizer, encoder, mix):
        positions = [position for position, _ in sequence.targets]
        assert all(a < b for a, b in pairwise(positions))
        for position, shares in sequence.targets:
            assert sum(shares.values()) == pytest.approx(1)
            assert shares[sequence.ids[position]] > 0
            n_open += len(shares) > 1
    assert (n_open > 50) == (mix is EPISODES)


def test_the_same_seed_draws_the_same(tokenizer, encoder):
    assert drawn(tokenizer, encoder, EPISODES, 20) == drawn(tokenizer, encoder, EPISODES, 20)
    assert drawn(tokenizer, encoder, EPISODES, 20) != drawn(tokenizer, encoder, EPISODES, 20, seed=2)

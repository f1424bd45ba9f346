"""Old trajectories in a new cycle: the right share, every domain its turn, no state, removal moves little."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.settings import PRESETS, TrainingConfig
from synde_pipeline.training.replay import draw_old, old_share

SEQUENTIAL = TrainingConfig(composition="sequential")
FIFTH = TrainingConfig(old_logs=0.2)
EARLIER = {f"test:{k}": "library" for k in range(50)}


def test_replay_is_the_configs_share_of_the_whole():
    assert len(draw_old(EARLIER, 16, FIFTH, "library-0002")) == 4
    assert len(draw_old(EARLIER, 16, SEQUENTIAL, "library-0002")) == 24
    assert draw_old(EARLIER, 16, TrainingConfig(composition="null_space"), "library-0002") == []
    assert draw_old(EARLIER, 1, TrainingConfig(composition="joint"), "library-0002") == sorted(EARLIER)
    assert draw_old({}, 16, SEQUENTIAL, "library-0001") == []


@pytest.mark.parametrize(
    ("config", "share"),
    [
        (SEQUENTIAL, 0.6),
        (TrainingConfig(composition="independent"), 0.2),
        (TrainingConfig(composition="joint", old_logs=0.5), 0.5),
        (TrainingConfig(composition="sequential", old_logs=0.0), 0.0),
        (PRESETS["paper"], 0.2),
    ],
)
def test_a_config_may_overrule_its_composition(config, share):
    assert old_share(config) == share


earlier_logs = st.dictionaries(
    st.integers(0, 99).map("t:{}".format), st.sampled_from(["web", "code", "math"]), max_size=40
)


@given(earlier_logs, st.integers(0, 20), st.sampled_from([0.2, 0.5, 0.6]))
def test_a_draw_needs_no_state_and_domains_take_turns(earlier, n_new, share):
    config = TrainingConfig(old_logs=share)
    drawn = draw_old(earlier, n_new, config, "web-0003")
    assert drawn == sorted(set(drawn))
    assert drawn == draw_old(dict(reversed(earlier.items())), n_new, config, "web-0003")
    assert len(drawn) == min(len(earlier), round(n_new * share / (1 - share)))
    n_of, n_there = Counter(earlier[uid] for uid in drawn), Counter(earlier.values())
    most = max(n_of.values(), default=0)
    assert all(n_of[domain] >= min(most - 1, n) for domain, n in n_there.items())


@given(earlier_logs.filter(len), st.data())
def test_who_is_removed_makes_room_for_at_most_one_other_of_each_domain(earlier, data):
    gone = data.draw(st.sampled_from(sorted(earlier)))
    before = set(draw_old(earlier, 10, FIFTH, "web-0003"))
    after = set(draw_old({uid: d for uid, d in earlier.items() if uid != gone}, 10, FIFTH, "web-0003"))
    assert gone not in after
    assert len(before - {gone} - after) <= 1
    if gone not in before:
        assert after == before


def test_another_cycle_draws_others():
    assert draw_old(EARLIER, 16, FIFTH, "library-0002") != draw_old(EARLIER, 16, FIFTH, "library-0003")

"""The worlds judge: a knowing agent succeeds, a guessing one seldom does, and every option does what it says."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.simulation.worlds.base import (
    ANSWER,
    FIRSTS,
    HELD_OUT,
    NAMES,
    PLAIN,
    SEEN_IN_PRETRAINING,
    SPARE_STEPS,
    Episode,
    Place,
    Rules,
    Task,
)
from synde_pipeline.simulation.worlds.registry import WORLDS

DOMAINS = st.sampled_from(sorted(WORLDS))
PLACES = st.builds(
    lambda domain, name, seed: (WORLDS[domain], name, seed), DOMAINS, st.sampled_from(HELD_OUT), st.integers(0, 50)
)


def task_at(where, rules=PLAIN, number=0, day=1):
    world, name, seed = where
    return Task(Place(world, name, seed, rules), world.things[0], number, day)


def run_knowing(task, seed=0):
    """Act as one who knows every convention and repeats what timed out; returns the episode and its replies."""
    episode, replies = Episode(task, seed), []
    for stage in task.stages:
        reply = episode.act(stage.tool, task.place.right_option(stage, task.day))
        replies.append(reply)
        if not reply.success and not reply.is_over:
            replies.append(episode.act(stage.tool, task.place.right_option(stage, task.day)))
        if episode.is_over:
            return episode, replies
    shown = next(text for reply in replies if (text := value_in(reply.result)))
    replies.append(episode.act(ANSWER, shown))
    return episode, replies


def value_in(text):
    return next((word for word in text.split() if word.replace(".", "").isdigit()), None)


@given(PLACES, st.integers(2, 6))
def test_who_knows_the_facts_succeeds_in_the_fewest_steps(where, n_facts):
    episode, replies = run_knowing(task_at(where, Rules(n_facts)))
    assert episode.is_success
    assert len(replies) == n_facts + 1 == episode.n_steps
    assert all(reply.success for reply in replies)


def test_who_tries_what_is_left_seldom_succeeds():
    solved = 0
    for k in range(600):
        world = list(WORLDS.values())[k % 3]
        task, chance = task_at((world, HELD_OUT[k], 3), number=k), random.Random(k)
        episode, shown = Episode(task), None
        for stage in task.stages:
            for option in chance.sample(stage.options, len(stage.options)):
                if episode.is_over:
                    break
                reply = episode.act(stage.tool, option)
                shown = value_in(reply.result) or shown
                if reply.success:
                    break
        if not episode.is_over:
            episode.act(ANSWER, shown)
        solved += episode.is_success
    assert 0.05 < solved / 600 < 0.2


@given(PLACES, st.data())
def test_no_sequence_of_actions_breaks_an_episode(where, data):
    rules = Rules(data.draw(st.integers(2, 6)), 0.3, 0.3)
    task = task_at(where, rules)
    words = [*(s.tool for s in where[0].stages), ANSWER, "nonsense"]
    options = [*(o for s in where[0].stages for o in s.options), task.value, "11.11", ""]
    episode = Episode(task)
    while not episode.is_over:
        tool, option = data.draw(st.sampled_from(words)), data.draw(st.sampled_from(options))
        reply = episode.act(tool, option)
        assert reply.result
        if episode.is_success:
            assert (tool, option) == (ANSWER, task.value)
    assert episode.n_steps <= task.budget == rules.n_facts + 1 + SPARE_STEPS
    with pytest.raises(RuntimeError, match="is over"):
        episode.act(ANSWER, task.value)


def test_conventions_are_seeded_and_every_option_is_right_somewhere():
    web = WORLDS["web"]
    for stage in web.stages:
        found = Counter(Place(web, name, 1).right_option(stage, 1) for name in HELD_OUT)
        assert set(found) == set(stage.options)
        assert max(found.values()) < 1.3 * len(HELD_OUT) / len(stage.options)
    extract = web.stages[4]
    one, other = ([Place(web, name, seed).right_option(extract, 1) for name in HELD_OUT] for seed in (1, 2))
    assert one == [Place(web, name, 1).right_option(extract, 1) for name in HELD_OUT]
    assert 0.1 < sum(a == b for a, b in zip(one, other, strict=True)) / len(one) < 0.3


def test_a_quarter_of_the_names_is_held_out_and_no_syllable_begins_and_ends_names():
    assert len(set(NAMES)) == 4096
    assert 0.22 < len(HELD_OUT) / len(NAMES) < 0.28
    assert not set(HELD_OUT) & set(SEEN_IN_PRETRAINING)
    assert not {name[:3] for name in NAMES} & {name[3:] for name in NAMES}
    assert {name[:3] for name in HELD_OUT} == set(FIRSTS)


@given(PLACES)
def test_at_a_verdict_the_wrong_last_step_ends_it_and_a_needless_check_does_not(where):
    task = task_at(where)
    final = next(stage for stage in task.stages if stage.is_final)
    episode = Episode(task)
    for stage in task.stages[:-1]:
        episode.act(stage.tool, task.place.right_option(stage, 1))
    right = task.place.right_option(final, 1)
    reply = episode.act(final.tool, next(option for option in final.options if option != right))
    assert not reply.success
    assert reply.is_over == (right == final.options[0])


@given(PLACES)
def test_transient_errors_time_out_once_and_work_when_repeated(where):
    rules = Rules(n_facts=2, transient_rate=1.0)
    episode, replies = run_knowing(task_at(where, rules))
    assert [reply.result.split()[0] == "timeout" for reply in replies] == [True, False, True, False, False]
    assert episode.is_success


def test_transient_errors_come_at_their_rate():
    n_timeouts = n_tried = 0
    for k, name in enumerate(HELD_OUT[:300]):
        _, replies = run_knowing(task_at((WORLDS["math"], name, 5), Rules(transient_rate=0.2), number=k), seed=7)
        n_timeouts += sum(reply.result.startswith("timeout") for reply in replies)
        n_tried += 4
    assert 0.14 < n_timeouts / n_tried < 0.26


@given(PLACES)
def test_a_decoy_shows_a_value_that_is_wrong(where):
    task = task_at(where, Rules(decoy_rate=1.0))
    episode = Episode(task)
    for stage in task.stages:
        right = task.place.right_option(stage, 1)
        if stage.tool == where[0].shows:
            reply = episode.act(stage.tool, next(option for option in stage.options if option != right))
            assert reply.success
            shown = value_in(reply.result)
            assert shown
            assert shown != task.value
        else:
            episode.act(stage.tool, right)
    assert episode.act(ANSWER, shown).result == "wrong"
    assert not episode.is_success


def test_conventions_drift_on_their_day_and_only_their_share():
    rules = Rules(drift_day=5, drift_share=0.5)
    changed = total = 0
    for name in HELD_OUT[:300]:
        place = Place(WORLDS["code"], name, 2, rules)
        for stage in place.world.stages:
            assert (
                place.right_option(stage, 1)
                == place.right_option(stage, 4)
                == Place(place.world, name, 2).right_option(stage, 1)
            )
            assert place.right_option(stage, 5) == place.right_option(stage, 30)
            changed += place.right_option(stage, 4) != place.right_option(stage, 5)
            total += 1
    assert 0.45 < changed / total < 0.55

"""What the guard sees in two texts: each kind of difference alone, and wordings of one thing that it lets pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.memory.distinct import differ
from synde_pipeline.memory.lexicon import stem
from synde_pipeline.memory.reading import read, said
from synde_pipeline_tests.memory.labelled_pairs import PAIRS


@pytest.mark.parametrize(
    ("reason", "left", "right"),
    [
        ("literal", "Call get_order first.", "Call get_orders first."),
        ("literal", "Edit src/app/main.py", "Edit src/app/main_test.py"),
        ("literal", "login -> pay -> resume", "login -> resume -> pay"),
        ("literal", "Fetch https://a.org/v1", "Fetch https://a.org/v2"),
        ("literal", "Wait 30 minutes", "Wait 30 seconds"),
        ("literal", "Pay $1,200", "Pay €1,200"),
        ("literal", "Retry three times", "Retry four times"),
        ("name", "Send it by Gmail", "Send it by Outlook"),
        ("name", 'Click "Save" at the end', 'Click "Send" at the end'),
        ("choice", "Refund to the gift card", "Refund to the credit card"),
        ("choice", "Please allow the change", "Please deny the change"),
        ("choice", "Round the figure up", "Round the figure down"),
        ("mark", "Always ask for confirmation", "Never ask for confirmation"),
        ("mark", "Before you pay, save the form", "Before you pay, do not save the form"),
        ("mark", "Ship with a signature", "Ship without a signature"),
        ("mark", "Verify identity before refunding", "Verify identity after refunding"),
        ("mark", "Cancel the flight, then book the hotel", "Book the hotel, then cancel the flight"),
        ("mark", "Use search instead of menus", "Use menus instead of search"),
        ("mark", "Refund paid orders", "Refund unpaid orders"),
        ("slot", "Ask for the order number", "Ask for the tracking number"),
        ("slot", "Move the hotel to the date of the flight", "Move the flight to the date of the hotel"),
        ("slot", "Take one coat and three hats", "Take three coats and one hat"),
        ("edit", "Use the checkout for orders", "Use the express checkout for orders"),
        ("topic", "Clean it. Cleaning helps.", "They burn papers; burning is quick."),
    ],
)
def test_each_difference_keeps_apart(reason, left, right):
    assert differ(read(left), read(right)) == differ(read(right), read(left)) == reason


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Verify identity before refunding.", "Only refund after verifying identity."),
        ("Never cancel without asking the user.", "Ask the user before you cancel."),
        ("Do not cancel until the user has confirmed.", "Cancel once the user has confirmed."),
        ("Retry 3 times within 24 hours", "Retry three times within 24h"),
        ("The call does not work", "The call fails"),
        ("Turn roaming on", "Enable roaming"),
        ("Pay 1,000 USD", "Pay $1000"),
        ("Ask first (3 of 4 tasks).", "Ask first (12 of 19 tasks)."),
        ("Do it (80% of 5 successful tasks, 20% of 4 failed ones)", "Do it (1 task)"),
    ],
)
def test_other_words_for_the_same_pass(left, right):
    assert differ(read(said(left)), read(said(right))) == ""


@given(st.sampled_from(PAIRS), st.sampled_from(PAIRS))
def test_the_guard_is_symmetric_and_lets_a_text_be_itself(a, b):
    left, right = (read(f"{item.title}. {item.description} {item.content}") for item in (a.items[0], b.items[1]))
    assert differ(left, right) == differ(right, left)
    read.cache_clear()
    assert differ(left, read(f"{a.items[0].title}. {a.items[0].description} {a.items[0].content}")) == ""


@given(st.sampled_from(PAIRS), st.integers(0, 40), st.booleans())
def test_a_new_word_at_one_place_is_never_overlooked(pair, place, replaces):
    item = pair.items[0]
    words = f"{item.title}. {item.description} {item.content}".split()
    at = place % len(words)
    edited = [*words[:at], "zorp", *words[at + replaces :]]
    assert differ(read(" ".join(words)), read(" ".join(edited)))


@given(st.text(max_size=60))
def test_any_text_can_be_read(text):
    assert differ(read(text), read(text + " ")) == ""


@pytest.mark.parametrize(
    "words",
    ["cancel cancelled cancelling cancellation", "verify verified verification", "deny denies denied", "box boxes",
     "authenticate authentication", "choose chose choice", "process processes", "valid validity",
     "renew renewal", "approve approval approved"],
)  # fmt: skip
def test_inflections_share_their_stem(words):
    assert len({stem(word) for word in words.split()}) == 1

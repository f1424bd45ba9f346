"""Redaction: known shapes of secrets go, everything else stays, and a second pass finds nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.logs.redact import PATTERNS, redact, redact_trajectory
from synde_pipeline_tests.helpers import step, texts, trajectories, trajectory

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "api-key": [
        "sk-" + "a1B2" * 8,
        "sk-proj-" + "aB3_dE4-" * 6 + "zz9",
        "sk-ant-api03-" + "x_Y1" * 10 + "-" + "q7" * 5,
        "sk_live_" + "a1B2c3D4" * 3,
        "pk-" + "0f" * 16,
    ],
    "access-key": ["AKIA" + "A1B2C3D4E5F6G7H8", "ASIA" + "Z" * 16],
    "token": ["ghp_" + "a1" * 18, "xoxb-" + "123456789012-abc", "glpat-" + "a-b_c" * 5],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjMifQ." + "c2lnbmF0dXJl"],
    "bearer": ["Bearer " + "abc.DEF~123+/=" * 2],
    "private-key": ["-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAQAB\n-----END RSA PRIVATE KEY-----"],
}
KNOWN = [(kind, secret) for kind, secrets in SECRETS.items() for secret in secrets]
HARMLESS = (
    "ask-me-anything-about-the-library-12",
    "sk-short1",
    "task-2024-01-01-export",
    "AKIA",
    "eyJ",
    "bearer of news",
)


@pytest.mark.parametrize(("kind", "secret"), KNOWN, ids=lambda value: value[:12])
def test_a_secret_is_replaced_whole_by_the_name_of_its_kind(kind, secret):
    text, n = redact(f"before {secret} after")
    assert n == 1
    assert text in (f"before [REDACTED:{kind}] after", f"before Bearer [REDACTED:{kind}] after")


@given(st.sampled_from(KNOWN), texts, texts)
def test_a_secret_is_found_between_any_words(known, before, after):
    text, n = redact(f"{before} {known[1]} {after}")
    assert n >= 1
    assert known[1] not in text


@given(st.sampled_from(KNOWN), st.sampled_from(['"{}"', "key={}", "({})", "'{}',", "{}.\n"]))
def test_a_secret_is_found_in_quotes_brackets_and_assignments(known, frame):
    assert known[1] not in redact(frame.format(known[1]))[0]


@given(st.lists(st.sampled_from(KNOWN).map(lambda known: known[1]) | texts, max_size=5))
def test_a_second_pass_finds_nothing(parts):
    once, _ = redact(" ".join(parts))
    assert redact(once) == (once, 0)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_a_little_like_a_secret_stays(text):
    assert redact(text) == (text, 0)


def test_a_private_key_that_was_cut_off_is_removed_to_its_end():
    assert redact("see -----BEGIN PRIVATE KEY-----\nMIIB and more")[0] == "see [REDACTED:private-key]"


def test_there_is_a_known_secret_for_every_pattern():
    assert SECRETS.keys() == PATTERNS.keys()


@given(trajectories())
def test_a_trajectory_without_secrets_is_returned_as_it_is(item):
    assert redact_trajectory(item) == (item, 0)
    assert redact_trajectory(item)[0] is item


@pytest.mark.parametrize("field", ["state", "reasoning", "arguments", "result"])
def test_every_text_of_a_step_is_redacted(field):
    secret = SECRETS["token"][0]
    clean, n = redact_trajectory(trajectory(steps=(step(**{field: secret}), step(1))))
    assert (n, getattr(clean.steps[0], field)) == (1, "[REDACTED:token]")


def test_task_and_system_are_redacted_and_every_secret_is_counted():
    a, b = SECRETS["access-key"][0], SECRETS["api-key"][0]
    clean, n = redact_trajectory(trajectory(system=f"{a} {b}", steps=(step(state=b),)).model_copy(update={"task": a}))
    assert n == 4
    assert a not in clean.canonical()
    assert b not in clean.canonical()

"""Redaction: known shapes of secrets go, everything else stays, and a second pass finds nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.logs.redact import ALLOWED, Allowed, Redactor, redact, redact_trajectory
from synde_pipeline.logs.sensitive import KINDS, spans_of
from synde_pipeline_tests.helpers import step, texts, trajectories, trajectory

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "api_key": [
        "sk-" + "a1B2" * 8,
        "sk-proj-" + "aB3_dE4-" * 6 + "zz9",
        "sk-ant-api03-" + "x_Y1" * 10 + "-" + "q7" * 5,
        "sk_live_" + "a1B2c3D4" * 3,
        "pk-" + "0f" * 16,
        "AIza" + "Sy1B2" * 7,
        "hf_" + "aBcD1" * 7,
        "SG." + "a1" * 11 + "." + "b2_" * 14 + "c",
        "AC" + "0f1e" * 8,
    ],
    "access_key": ["AKIA" + "A1B2C3D4E5F6G7H8", "ASIA" + "Z" * 16],
    "token": [
        "ghp_" + "a1" * 18,
        "github_pat_" + "a1B_" * 8,
        "xoxb-" + "123456789012-abc",
        "glpat-" + "a-b_c" * 5,
        "npm_" + "a1B2" * 9,
        "123456789:" + "AAabcd-" * 5,
        "Qz7" + "kR2vX9tLm4Wp8Ys1Hd6Jf3Gb5Nc0Tq-EaUiOo_z",
    ],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjMifQ." + "c2lnbmF0dXJl"],
    "bearer": ["Bearer " + "abc.DEF~123+/=" * 2],
    "private_key": ["-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAQAB\n-----END RSA PRIVATE KEY-----"],
    "password": [
        "https://ann:" + "s3cr3t-Word" + "@host.example/x",
        "password=" + "Tr0ub4dor&3",
        'pwd: "' + "hunter2xyz" + '"',
    ],
    "email": ["ann.bell@example.org", "a+b_c-9@mail.co.uk"],
    "phone": ["+49 30 1234567", "+1 (555) 123-4567", "555-123-4567", "(555) 123-4567"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
}
KNOWN = [(kind, secret) for kind, secrets in SECRETS.items() for secret in secrets]
HARMLESS = (
    "ask-me-anything-about-the-library-12",
    "sk-short1",
    "task-2024-01-01-export",
    "AKIA",
    "eyJ",
    "bearer of news",
    "token = tokenizer.next_token()",
    "the secret: to be patient",
    "password: required",
    "password = models.CharField(max_length=128)",
    "hash(field): 3021198999180767061",
    "max_token: 4096",
    "order #W2611340 of 2024-05-15T10:00:00.123456Z",
    "3f786850e387550fdab836ed7e6dc881de23001b",
    "123e4567-e89b-12d3-a456-426614174000",
    "call_9XoPlnYfJabcdefghijklmn",
    "flight HAT-123 at 10:30 for 1,234.56",
    "4111 1111 1111 1112",
    "DE89 3704 0044 0532 0130 01",
    "tests/models/test_fields.py::TestField::test_value",
    "@decorator and user@host",
)


def core(secret: str) -> str:
    """What of a known secret must be gone: without the words around it."""
    spans = spans_of(secret)
    return secret[spans[0].start : spans[0].end]


@pytest.mark.parametrize(("kind", "secret"), KNOWN, ids=lambda value: value[:12])
def test_a_secret_is_replaced_by_the_name_of_its_kind(kind, secret):
    text, n = redact(f"before {secret} after")
    assert n == 1
    assert f"<{kind.upper()}_1>" in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert core(secret) not in text


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
    assert redact("see -----BEGIN PRIVATE KEY-----\nMIIB and more")[0] == "see <PRIVATE_KEY_1>"


def test_there_is_a_known_secret_of_every_kind():
    assert SECRETS.keys() == set(KINDS)


@pytest.mark.parametrize(("kind", "secret"), KNOWN, ids=lambda value: value[:12])
@pytest.mark.parametrize("escape", ["\n", "\t", '"'])
def test_a_secret_in_json_inside_a_text_is_found_behind_an_escape(kind, secret, escape):
    inner = json.dumps({"a": f"x{escape}{secret}{escape}y"})
    outer = json.dumps({"b": inner})
    for text in (inner, outer):
        clean, n = redact(text)
        assert n == 1, text
        assert f"<{kind.upper()}_1>" in clean
        json.loads(clean)


def test_equal_secrets_have_equal_placeholders_within_a_trajectory_whatever_their_spelling():
    redactor = Redactor()
    assert redactor.text("Ann@Example.org wrote to bob@example.org") == "<EMAIL_1> wrote to <EMAIL_2>"
    assert (
        redactor.text("ann@example.org, 4111 1111 1111 1111 and 4111111111111111") == "<EMAIL_1>, <CARD_1> and <CARD_1>"
    )
    assert redactor.counts == {"email": 3, "card": 2}


def test_arguments_stay_json_and_a_field_s_name_tells_a_secret():
    clean = Redactor().arguments(
        json.dumps({"to": "x\nann@example.org", "password": "hunter2xyz", "n": 4111111111111111})
    )
    assert json.loads(clean) == {"to": "x\n<EMAIL_1>", "password": "<PASSWORD_1>", "n": "<CARD_1>"}


def test_what_a_person_allows_stays(tmp_path):
    (tmp_path / ALLOWED).write_text("# ours\nhelp@example.org\n/.*@example\\.net/\n")
    redactor = Redactor(Allowed.in_folder(tmp_path))
    assert redactor.text("help@example.org a@example.net b@example.com") == "help@example.org a@example.net <EMAIL_1>"
    with pytest.raises(InputError, match="is no pattern"):
        Allowed.of(["/(/"])


def test_a_long_text_takes_linear_time():
    """Ten thousand secrets in one text, and a megabyte of what begins like some: done while a person waits."""
    assert redact("ann@example.org " * 10_000)[1] == 10_000
    for start in ("a" * 50 + ".", "//", "+1 ", "DE89 ", "4111 ", "eyJ", "-----BEGIN "):
        text = start * (300_000 // len(start))
        assert redact(text) == (text, 0)


@given(trajectories())
def test_a_trajectory_without_secrets_is_returned_as_it_is(item):
    if not any(spans_of(text) for text in (item.canonical(), item.task)):
        assert redact_trajectory(item)[0] is item


@pytest.mark.parametrize("field", ["state", "reasoning", "arguments", "result"])
def test_every_text_of_a_step_is_redacted(field):
    secret = SECRETS["token"][0]
    clean, n = redact_trajectory(trajectory(steps=(step(**{field: secret}), step(1))))
    assert (n.total(), getattr(clean.steps[0], field)) == (1, "<TOKEN_1>")


def test_task_and_system_are_redacted_and_every_secret_is_counted():
    a, b = SECRETS["access_key"][0], SECRETS["api_key"][0]
    clean, n = redact_trajectory(trajectory(system=f"{a} {b}", steps=(step(state=b),)).model_copy(update={"task": a}))
    assert n == {"access_key": 2, "api_key": 2}
    assert a not in clean.canonical()
    assert b not in clean.canonical()

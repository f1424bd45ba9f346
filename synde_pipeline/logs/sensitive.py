"""What must not leave raw logs: where secrets and personal data stand in a text, by kind. Pure.

Credentials: the patterns of detect-secrets, some shapes that it does not know, whatever an assignment calls a secret if
it looks random, and long tokens of high entropy. Personal data: e-mail, phone, card (Luhn), IBAN (ISO 7064 mod 97).
"""

import math
import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

KINDS = ("private_key", "api_key", "access_key", "token", "jwt", "bearer", "password", "email", "phone", "card", "iban")
"""From the most telling to the least: where two overlap, the earlier kind names it."""


class Span(NamedTuple):
    """A piece of a text that must go."""

    start: int
    end: int
    kind: str


_ESCAPES = re.compile(r"\\+[nrtbf\"/]?")
"""In JSON inside a text: a `\\n` before a word would hide where the word begins."""

_SHAPES: tuple[tuple[str, str], ...] = (
    (
        "private_key",
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*KEY(?: BLOCK)?-----|\Z)",
    ),
    ("api_key", r"\b(?:sk|pk|rk)[-_](?=[\w-]*\d)[A-Za-z0-9_-]{20,}"),
    ("api_key", r"\bAIza[0-9A-Za-z_-]{35}(?![\w-])"),
    ("api_key", r"\bhf_[A-Za-z0-9]{30,}\b"),
    ("access_key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
    ("token", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    ("token", r"\bgithub_pat_\w{22,}\b"),
    ("token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}\b"),
    ("token", r"\bgl(?:pat|dt|ft|rt|soat)-[A-Za-z0-9_-]{20,}"),
    ("token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?![\w-])"),
    ("bearer", r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{16,}"),
    (
        "email",
        r"(?<![\w.+%-])[A-Za-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])",
    ),
)
"""Kind and pattern; whoever adds one sees that `suspects` suspects what it matches."""
_LIBRARY = {
    "AWSKeyDetector": "access_key",
    "AzureStorageKeyDetector": "access_key",
    "BasicAuthDetector": "password",
    "DiscordBotTokenDetector": "token",
    "GitHubTokenDetector": "token",
    "GitLabTokenDetector": "token",
    "MailchimpDetector": "api_key",
    "OpenAIDetector": "api_key",
    "PypiTokenDetector": "token",
    "SendGridDetector": "api_key",
    "SlackDetector": "token",
    "SquareOAuthDetector": "token",
    "StripeDetector": "api_key",
    "TelegramBotTokenDetector": "token",
    "TwilioKeyDetector": "api_key",
}
"""Detectors of detect-secrets -> kind. Left out: public addresses (no secret), Artifactory (finds words such as
`APCalculator`), npm (takes quadratic time on long lines), and those that read assignments, as is done here anyway."""

_ASSIGNED = re.compile(
    r"(?i)(?<![A-Za-z])(?P<name>api[ _-]?key|access[ _-]?key|secret(?:[ _-]?key)?|auth[ _-]?token|access[ _-]?token|"
    r"token|password|passwd|pwd|passphrase|credentials?)(?![A-Za-z])\s{0,8}[\"']?\s{0,3}(?:=|:=|:|=>)\s{0,8}[\"']?"
    r"(?P<value>[^\s\"',;<>(){}\[\]\\]{8,200})"
)
_LONG = re.compile(r"(?<![\w/+.=-])[A-Za-z0-9_-]{40,200}(?![\w/+.=-])")
_PHONE = re.compile(
    r"(?<![\w.+#/-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-])(?!\.\d)"
)
_CARD = re.compile(
    r"(?<![\w.+-])(?:[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}|3[47]\d\d[ -]\d{6}[ -]\d{5}|3[47]\d{13}"
    r"|(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d|62\d\d)\d{12})(?![\w-])(?![ .]\d)"
)
"""As the large issuers number them: of any long number one in ten would pass Luhn's check."""
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_PASSWORD_BITS, _TOKEN_BITS, _LONG_BITS = 2.5, 3.0, 4.3
"""Entropy, bits a sign, from which on what is assigned or stands alone counts as random."""
_RUN = 16


def spans_of(text: str) -> list[Span]:
    """All that must go from a text, in order, none overlapping another."""
    flat = _ESCAPES.sub(_blank, text)
    found = sorted(_all(flat), key=lambda one: (KINDS.index(one.kind), one.start))
    chosen: list[Span] = []  # sorted
    for one in found:
        at = bisect(chosen, one)
        is_clear = (at == 0 or chosen[at - 1].end <= one.start) and (at == len(chosen) or one.end <= chosen[at].start)
        if is_clear:
            chosen.insert(at, one)
    return chosen


def _blank(escape: re.Match[str]) -> str:
    """Spaces of the same length; a quote stays one."""
    return " " * (len(escape[0]) - 1) + ('"' if escape[0].endswith('"') else " ")


def _all(text: str) -> Iterator[Span]:
    yield from (Span(*_secret(match), kind) for kind, pattern in _patterns() for match in pattern.finditer(text))
    yield from _assigned(text)
    yield from (Span(*match.span(), "token") for match in _LONG.finditer(text) if _is_long_token(match[0]))
    yield from (
        Span(*match.span(), kind)
        for kind, pattern, is_real in _NUMBERS
        for match in pattern.finditer(text)
        if is_real(match[0])
    )


def _assigned(text: str) -> Iterator[Span]:
    for match in _ASSIGNED.finditer(text):
        is_password = match["name"].lower().startswith(("pass", "pwd"))
        if _is_random(match["value"], is_password=is_password):
            yield Span(*match.span("value"), "password" if is_password else "token")


def _secret(match: re.Match[str]) -> tuple[int, int]:
    """Where a group names the secret, the words around it stay; a prefix alone (`ghp`) is no secret."""
    groups = [match.span(k + 1) for k in range(match.re.groups) if match.span(k + 1) != (-1, -1)]
    longest = max(groups, key=lambda span: span[1] - span[0], default=match.span())
    return longest if longest[1] - longest[0] >= 8 else match.span()


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Ours, then the library's."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    classes: dict[str, Any] = {one.__name__: one for one in get_mapping_from_secret_type_to_class().values()}
    own = [(kind, re.compile(pattern)) for kind, pattern in _SHAPES]
    lent = [(kind, pattern) for name, kind in _LIBRARY.items() for pattern in classes[name]().denylist]
    return (*own, *lent)


# -- what looks random, and numbers that check -----------------------------------------------------------------------


def entropy(text: str) -> float:
    """Shannon entropy of a text's signs, in bits a sign."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


_CLASSES = (str.isupper, str.islower, str.isdigit)


def _classes(text: str) -> int:
    return sum(any(map(test, text)) for test in _CLASSES)


def _is_long_token(text: str) -> bool:
    """All kinds of signs, high entropy, and a long run without a break: slugs and names are words with breaks."""
    run = max(map(len, re.split("[-_]", text)))
    return run >= _RUN and _classes(text) == len(_CLASSES) and entropy(text) >= _LONG_BITS


def _is_random(value: str, *, is_password: bool) -> bool:
    # Words, paths, calls and versions are assigned to `password` and `token` in code all day long.
    is_word = re.fullmatch(r"[A-Za-z_.-]+|[\d.]+", value) is not None
    if is_password:
        return not is_word and _classes(value) >= 2 and entropy(value) >= _PASSWORD_BITS
    return not is_word and "/" not in value and _classes(value) >= 2 and entropy(value) >= _TOKEN_BITS


def is_card(text: str) -> bool:
    """13 to 19 digits that Luhn's check accepts, not all of them equal."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether the check digits fit: the rotated number is 1 modulo 97."""
    plain = text.replace(" ", "")
    turned = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def is_phone(text: str) -> bool:
    """8 to 15 digits (E.164)."""
    return 8 <= sum(sign.isdigit() for sign in text) <= 15


_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("card", _CARD, is_card),
    ("iban", _IBAN, is_iban),
    ("phone", _PHONE, is_phone),
)

"""Whether a text reads like an attack on whoever reads it later: an instruction where data, or a lesson, should be.

Heuristics. They find texts that give themselves away by how they speak (to the reader, past its rules, to an address
outside, in hiding); a false fact in plain words reads like any other and is for trust and numbers of tasks to stop.
"""

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

from synde_pipeline.reflection.attacks import compiled

_PATTERNS, _ORDERS = compiled()
_INVISIBLE = re.compile(
    "[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\u00ad\U000e0000-\U000e007f]"
    "|(?<=[ -~])[\u200c\u200d\ufeff](?=[ -~])"
)
_LOOKALIKES = str.maketrans("аеорсухікѕԁԍոһјԛԝмтАВЕКМНОРСТХІаοενικρτυα0", "aeopcyxiksdgnhjqwmtABEKMHOPCTXIaoevikptua0")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[nt\"\\/])")
"""Escapes of JSON: results are often JSON, and in lessons they are quoted once more."""
_SPACED = re.compile(r"\b(?:[A-Za-z][ .\-_*|]){4,}[A-Za-z]\b")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"\b(?:[0-9a-fA-F]{2}){16,}\b")
_MAX_BLOB = 160
"""Characters of an encoded text that no id has."""
_SHORT = 200
_DEPTH = 2
"""Encodings within encodings that are looked through."""


def why_suspect(text: str, *, is_result: bool = False) -> str:
    """Why a text may be an attack; empty for what reads like any other.

    Args:
        text: a lesson, or what a tool answered.
        is_result: it is what a tool answered, where any order to act is out of place.
    """
    return (_short if len(text) <= _SHORT else _look)(text, is_result)


def _look(text: str, is_result: bool) -> str:
    text = _ESCAPE.sub(_unescaped, text).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "holds invisible characters" if _INVISIBLE.search(text) else _why(text, is_result, _DEPTH)


_short = lru_cache(maxsize=2**15)(_look)
"""Short texts are looked at once: runs meet the same errors and say the same things."""


def _why(text: str, is_result: bool, depth: int) -> str:
    for form in _forms(text):
        for why, pattern in _PATTERNS:
            if pattern.search(form):
                return why
        if is_result and any(pattern.search(form) for pattern in _ORDERS):
            return "gives an order to act"
    for blob in _BASE64.findall(text) + _HEX.findall(text):
        hidden = _decoded(blob)
        if hidden and depth and _why(hidden, True, depth - 1):
            return "hides an encoded instruction"
        if len(blob) >= _MAX_BLOB and not _HEX.fullmatch(blob) and _is_mixed(blob):
            return "holds an encoded blob"
    return ""


def _forms(text: str) -> Iterator[str]:
    """The text as it is read: widths, look-alikes, entities and escapes undone, spaced letters joined."""
    plain = unicodedata.normalize("NFKC", text)
    folded = plain.translate(_LOOKALIKES)
    joined = _SPACED.sub(lambda match: re.sub(r"[ .\-_*|]", "", match.group()), folded)
    yield from dict.fromkeys([plain, folded, joined, unquote(html.unescape(folded))])


def _unescaped(match: re.Match[str]) -> str:
    code = match.group(1)
    return chr(int(code[1:], 16)) if len(code) > 1 else {"n": "\n", "t": "\t"}.get(code, code)


def _decoded(blob: str) -> str:
    """The printable text that a blob encodes, else nothing."""
    try:
        if _HEX.fullmatch(blob):
            found = bytes.fromhex(blob)
        else:
            body = blob.rstrip("=").replace("-", "+").replace("_", "/")
            found = base64.b64decode(
                body[: len(body) // 4 * 4] if len(body) % 4 == 1 else body + "=" * (-len(body) % 4)
            )
        text = found.decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
    return text if text.isprintable() or "\n" in text else ""


def _is_mixed(blob: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    return all(any(map(kind, blob)) for kind in kinds)

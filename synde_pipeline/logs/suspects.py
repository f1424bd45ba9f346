r"""Texts that may hold something sensitive, told by whole columns: `sensitive` need read no other, at 1/100 the speed.

Each clue is in every text that a pattern of `sensitive` finds something in, and is far simpler: RE2 runs it in linear
time. A clue holds where the text is JSON inside a text too: it spans no blank, since there a blank may be an escape
(`\n`), and quotes may be behind one.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synde_pipeline.logs.parquet import pc, rows_of_elements
from synde_pipeline.records import Trajectory

_CREDENTIALS = (
    r"-----BEGIN|[spr]k[-_][\w-]{20}|AIza|hf_|A3T[A-Z0-9]{17}|(?:ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{36}"
    r"|github_pat_|(?i:xox[a-z]-)|GR1348941|gl(?:pat|dt|ft|rt|soat|cbt|imt|ptt|agent|oas)-|npm_|eyJ[\w-]{10}"
    r"|earer[ \\][\w.~+/=-]{16}|AccountKey=|://[^:/\s]+:[^@/\s]+@|[MNO][\p{Nd}\w-]{23,25}\.[\p{Nd}\w-]{6}\."
    r"|[0-9a-z]{32}-us[0-9]|T3BlbkFJ|pypi-Ag|SG\.[\w-]{22}\.|(?i:hooks\.slack\.com)|sq0csp-|\p{Nd}{8}:[\w-]{35}"
    r"|(?:AC|SK)[a-z0-9]{32}|[0-9a-zA-Z/+]{40}\\*['\"]|[\w-]{40}"
)
_EMAIL = r"[^ ]@[A-Za-z0-9-]{1,63}\.[A-Za-z0-9-]"
_GAP = r"(?:\\+[nrtbf\"/]?|[^A-Za-z0-9=:]){0,24}"
_ASSIGNED = (
    r"(?i)(?:(?:api|access|secret)(?:\\+|[ _-])?key|secret|token|passw(?:or)?d|pwd|passphrase|credentials?)"
    rf"{_GAP}(?::=|=>|=|:){_GAP}[^\s\"',;<>(){{}}\[\]\\]{{8}}"
)
_NUMBERS = (
    r"\+(?:\p{Nd}[ .()\\-]{0,4}){7}|\p{Nd}{3}\)[ \\]?\p{Nd}{3}[ .\\-]\p{Nd}{4}|\p{Nd}{3}[.-]\p{Nd}{3}[.-]\p{Nd}{4}"
    r"|[2-6]\p{Nd}{3}[ \\-]\p{Nd}{4}[ \\-]\p{Nd}{4}|3[47]\p{Nd}{2}[ \\-]\p{Nd}{6}|[2-6]\p{Nd}{14}"
    r"|[A-Z]{2}\p{Nd}{2}[ \\]?[A-Z0-9]{4}[ \\]?[A-Z0-9]{4}"
)
_CLUES = (_CREDENTIALS, _EMAIL, _ASSIGNED, _NUMBERS)  # one by one: as one pattern they run at a tenth of the speed
_ESCAPED = r"\\[u/\\]"
"""In a call's arguments, which are decoded before they are looked at: what may become a sign of any clue."""
_TEXTS, _TEXTS_OF_STEPS = ("task", "system"), ("state", "reasoning", "result")


def suspects_of(runs: Iterable[Trajectory]) -> set[str]:
    """All texts of some runs that may hold something sensitive."""
    runs = list(runs)
    texts = [getattr(run, name) for run in runs for name in _TEXTS]
    texts += [getattr(step, name) for run in runs for step in run.steps for name in _TEXTS_OF_STEPS]
    arguments = [step.arguments for run in runs for step in run.steps]
    found = [_of(pa.array(texts, pa.string())), _of(pa.array(arguments, pa.string()), _ESCAPED)]
    return set().union(*(texts for _, texts in found))


def suspects_in(table: pa.Table) -> tuple[NDArray[np.bool_], set[str]]:
    """Rows of raw logs that may hold something sensitive, and the texts in them that may."""
    rows, suspects = np.zeros(len(table), np.bool_), set[str]()
    for name in _TEXTS:
        mask, texts = _of(table[name])
        rows, suspects = rows | mask, suspects | texts
    steps = pc.list_flatten(table["steps"])
    row_of_step = rows_of_elements(table["steps"])
    for name in (*_TEXTS_OF_STEPS, "arguments"):
        mask, texts = _of(pc.struct_field(steps, name), *([_ESCAPED] if name == "arguments" else []))
        rows[row_of_step[mask]] = True
        suspects |= texts
    return rows, suspects


def _of(texts: pa.Array | pa.ChunkedArray, *more: str) -> tuple[NDArray[np.bool_], set[str]]:
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts  # else a clue is compiled for each
    mask = np.zeros(len(texts), np.bool_)
    for clue in (*_CLUES, *more):
        mask |= np.asarray(pc.match_substring_regex(texts, clue)).astype(np.bool_)
    return mask, set(texts.filter(pa.array(mask)).to_pylist())

"""Which lessons never merge, however near their vectors are: the keep-distinct guard. Pure.

Sentence embeddings put "use browse" and "use search" at a cosine of .89, "always" and "never" above .9. So two texts
are kept apart when what they say literally differs. A wrong merge loses a lesson, a missed one costs a few tokens: in
doubt they differ. What is compared:

* literals and numbers: identifiers, paths, links, numbers with their units, orders of tools, and how many statements
  are negated must be the same (`Reading.key`);
* names: capitalised and quoted words of one text occur in the other;
* choices: of words that exclude each other both texts name the same ones, where both name any;
* marks: no word that both use is affirmed in one and negated in the other, or earlier in one and
  later in the other;
* substitution: nearly the same words around other words is a contrast, not a paraphrase; the same words in another
  order inside a clause have swapped their roles.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from synde_pipeline.memory.lexicon import MEANING, SIDES, STOP, stem

CONTRAST = 0.5
"""Share of common words from which on other words in the rest are a contrast."""

_COUNTS = re.compile(r"\s*\(\d+%? of \d+[^()]*\)")
_PHRASES = [
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        (r"\b(?:does|do|did|will|would) ?n[o']t work\b", "fails"),
        (r"\bnot only\b", ""),
        (r"\bno longer\b", "not"),
        (r"\bprior to\b|\bahead of\b", "before"),
        (r"\bas soon as\b", "after"),
        (r"\blook(?:ing|s|ed)? up\b", "lookup"),
        (r"\bturn(?:ing|s|ed)? (\w+ )?on\b|\bswitch(?:ing|es|ed)? (\w+ )?on\b", r"enable \1"),
        (r"\bturn(?:ing|s|ed)? (\w+ )?off\b|\bswitch(?:ing|es|ed)? (\w+ )?off\b", r"disable \1"),
        (r"\bone[- ]way\b", "oneway"),
        (r"\bround[- ]trip\b", "roundtrip"),
        (r"\blog(?:ging)? (in|out)\b", r"log\1"),
        (r"\bsign(?:ing)? (in|out)\b", r"log\1"),
    )
]
_TOKEN = re.compile(
    r"""(?P<link>https?://[^\s"'<>)]+|[\w.+-]+@[\w-]+\.[\w.]+)
    |(?P<quoted>"[^"]+"|`[^`]+`|(?<!\w)'[^']+'(?!\w))
    |(?P<arrow>\w+(?:\s*(?:->|→)\s*\w+)+)
    |(?P<path>(?:~|\.{1,2})?(?:/[\w.{}-]+)+/?|\w[\w.-]*/[\w.-]*[\d._/][\w./-]*)
    |(?P<number>(?<!\w)[$€£]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w*[\d_])(?:\s?[%$€£])?)
    |(?P<literal>(?<!\w)--?[a-z][\w-]+|\#\w+|\w+\(\)|(?=\w*[_\d]|\w+-\d|\w*[a-z][A-Z])\w+(?:[-.]\w+)*|\w+(?:\.\w+)+)
    |(?P<word>[^\W\d_]+(?:'[a-z]+)?)
    |(?P<stop>[.,;:!?()\n]|\s-\s)""",
    re.VERBOSE,
)
_UNITS = {
    word: words.split()[0]
    for words in (
        "% percent", "$ dollar dollars usd", "€ euro euros eur", "£ pound pounds gbp", "second seconds s sec secs",
        "minute minutes min mins", "hour hours h hr hrs", "day days", "week weeks", "month months", "year years",
        "kb kilobyte kilobytes", "mb megabyte megabytes", "gb gigabyte gigabytes", "ms millisecond milliseconds",
        "kg kilo kilos kilogram kilograms", "lb lbs", "km kilometer kilometers kilometre kilometres", "mile miles",
        "yen jpy", "inr rupee rupees", "cent cents", "point points", "token tokens", "am", "pm",
    )
    for word in words.split()
}  # fmt: skip
_COUNTED = """
two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 thirteen=13 fourteen=14 fifteen=15
sixteen=16 seventeen=17 eighteen=18 nineteen=19 twenty=20 thirty=30 forty=40 fifty=50 sixty=60 seventy=70 eighty=80
ninety=90 hundred=100 thousand=1000 million=1000000 zero=0 twice=2 thrice=3 half=0.5 dozen=12
"""
_NUMBERS = dict(pair.split("=", 1) for pair in _COUNTED.split())
"""Number words; "one" is left out, as in "the old one"."""
_NOT = frozenset(
    {"not", "no", "never", "none", "cannot", "nothing", "nobody", "neither", "nor", "non"}
    | {"avoid", "avoids", "avoiding", "refrain"}
)
_LATE = frozenset({"before", "then"})
"""What follows comes later than what stands before."""
_EARLY = frozenset({"after", "once", "until", "till", "unless", "without"})
"""What follows comes first; the last three only after a negation ("never refund without asking")."""
_ENDS = frozenset({"but", "because", "so", "if", "when", "since", "while", "where", "as", "instead", "and"})
"""Words that end what a negation reaches."""


@dataclass(frozen=True)
class Reading:
    """What the guard sees of a text."""

    key: tuple[object, ...]
    """Must be equal: literals, numbers with units, number of negated statements."""
    words: frozenset[str]
    """Meanings of the content words."""
    clauses: frozenset[tuple[str, ...]]
    """Content words of each clause, in their order."""
    names: frozenset[str]
    """Capitalised and quoted words."""
    tokens: frozenset[str]
    """All words, lower case."""
    marks: Mapping[str, frozenset[str]]
    """Word -> how it is used: `+` or `-` (negated), `<` (earlier), `>` (later)."""
    sides: Mapping[int, frozenset[int]]
    """Choice -> the sides that are named."""


def differ(a: Reading, b: Reading) -> str:
    """Why two texts must not merge, in one word; empty if nothing speaks against it."""
    if a.key != b.key:
        return "literals"
    if not (a.names <= b.tokens and b.names <= a.tokens):
        return "names"
    if any(a.sides[choice] != b.sides[choice] for choice in a.sides.keys() & b.sides.keys()):
        return "choice"
    shared = a.words & b.words
    if any(_opposed(a.marks[word], b.marks[word]) for word in shared):
        return "marks"
    return _substituted(a, b, shared)


def _opposed(a: frozenset[str], b: frozenset[str]) -> bool:
    return any(
        (left in a) != (right in a) and (left in b) != (right in b) and (left in a) != (left in b)
        for left, right in ("+-", "<>")
    )


_OPPOSITE = re.compile(r"^(?:un|in|im|ir|dis|non|mis)")


def _substituted(a: Reading, b: Reading, shared: frozenset[str]) -> str:
    only_a, only_b = a.words - shared, b.words - shared
    if not only_a and not only_b:
        return "" if a.clauses == b.clauses else "order"
    if any(_OPPOSITE.sub("", word) in other for word in only_a | only_b for other in (a.words, b.words)
           if word not in other):  # fmt: skip
        return "marks"
    if only_a and only_b and len(shared) >= CONTRAST * len(a.words | b.words):
        return "substitution"
    return ""


def said(text: str) -> str:
    """A text without the counts of evidence that the fold appends: `(3 of 4 tasks)`."""
    return _COUNTS.sub("", text)


@lru_cache(maxsize=2**17)
def read(text: str) -> Reading:
    """Read a text as the guard sees it."""
    for pattern, words in _PHRASES:
        text = pattern.sub(words, text)
    reader = _Reader()
    for clause in _clauses(text):
        reader.read(clause)
    return reader.result()


def _clauses(text: str) -> Iterator[list[tuple[str, str]]]:
    """Sentences as (kind, text) tokens; the commas inside are tokens too."""
    sentence: list[tuple[str, str]] = []
    for found in _TOKEN.finditer(text):
        kind, token = str(found.lastgroup), found[0].strip()
        if kind == "stop" and token not in (",", "(", ")", "-"):
            yield sentence
            sentence = []
        else:
            sentence.append((kind, token))
    yield sentence


class _Reader:
    """Collects what sentences say."""

    def __init__(self) -> None:
        self.literals: set[str] = set()
        self.numbers: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.tokens: set[str] = set()
        self.negations = 0
        self.clauses: set[tuple[str, ...]] = set()
        self.marks: dict[str, set[str]] = defaultdict(set)
        self.sides: dict[int, set[int]] = defaultdict(set)

    def result(self) -> Reading:
        return Reading(
            key=(tuple(sorted(self.literals)), tuple(dict.fromkeys(self.numbers)), self.negations),
            words=frozenset(self.marks),
            clauses=frozenset(self.clauses),
            names=frozenset(self.names),
            tokens=frozenset(self.tokens),
            marks={word: frozenset(found) for word, found in self.marks.items()},
            sides={choice: frozenset(found) for choice, found in self.sides.items()},
        )

    def read(self, sentence: list[tuple[str, str]]) -> None:
        """Take in one sentence."""
        words = self._words(sentence)
        negated = any(word in _NOT or word.endswith("n't") for word in words)
        turns = {"before", "until", "till", "without", "unless"} & set(words) if negated else set()
        # "Never refund before (until, unless, without) asking" says "ask before you refund".
        self.negations += sum(word in _NOT or word.endswith("n't") for word in words) - (1 if turns else 0)
        if not negated:
            self.negations += words.count("without")
        for clause, time in _timed(words, turned=bool(turns)):
            self._clause(clause, time, negatable=not turns)

    def _clause(self, words: list[str], time: str, *, negatable: bool) -> None:
        content: list[str] = []
        sign = "+"
        for word in words:
            if negatable and (word in _NOT or word.endswith("n't") or word == "without"):
                sign = "-"
            elif word in _ENDS:
                sign = "+"
            root = stem(word)
            if root in SIDES:
                choice, side = SIDES[root]
                self.sides[choice].add(side)
            if word in STOP or word in _NOT or word.endswith("n't"):
                continue
            meaning = MEANING.get(root, root)
            content.append(meaning)
            self.marks[meaning] |= {sign, time} - {""}
        if content:
            self.clauses.add(tuple(content))

    def _words(self, sentence: list[tuple[str, str]]) -> list[str]:
        """The sentence's words in lower case, with literals, numbers and names noted on the way."""
        words: list[str] = []
        capitals = sum(kind == "word" and token[0].isupper() for kind, token in sentence)
        title_case = capitals > len(sentence) / 2
        for at, (kind, token) in enumerate(sentence):
            following = sentence[at + 1][1].lower() if at + 1 < len(sentence) else ""
            if kind == "stop":
                words.append(token)
            elif kind == "word" and token.lower() in _NUMBERS:
                self.numbers.append((_NUMBERS[token.lower()], _UNITS.get(following, "")))
            elif kind == "number":
                self.numbers.append(_number(token, following))
            elif kind == "word":
                word = token.lower()
                is_acronym = len(token) > 1 and token.isupper()
                if is_acronym or (at and token[0].isupper() and not title_case and word not in STOP):
                    self.names.add(word)
                words.append(word)
            elif kind == "quoted":
                words += self._quoted(token[1:-1])
            else:
                self.literals.add(re.sub(r"\s*(?:->|→)\s*", "->", token))
                words.append(token.lower())
        self.tokens.update(words)
        return words

    def _quoted(self, text: str) -> list[str]:
        found = [(str(part.lastgroup), part[0].strip()) for part in _TOKEN.finditer(text)]
        words = [token.lower() for kind, token in found if kind == "word"]
        self.names.update(words)
        self.literals.update(token for kind, token in found if kind not in ("word", "stop"))
        return [token.lower() for kind, token in found if kind != "stop"]


def _number(token: str, following: str) -> tuple[str, str]:
    value = re.sub(r"[^\d.]", "", token)
    sign = re.sub(r"[\d.,\s]", "", token)
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    return value, _UNITS.get(sign or following, "")


def _timed(words: Iterable[str], *, turned: bool) -> Iterator[tuple[list[str], str]]:
    """Cut a sentence into clauses, each with its time: `<` earlier, `>` later, or none."""
    clauses: list[tuple[list[str], str]] = [([], "")]
    for word in words:
        if word in _LATE or (word in _EARLY and (turned or word in ("after", "once"))):
            late = (word in _LATE) != (turned and word in ("before", "after"))
            here = ">" if late else "<"
            if clauses[-1][0] or len(clauses) > 1:  # what stands before is on the other side
                body, time = clauses[-1]
                clauses[-1] = (body, time or ("<" if late else ">"))
                clauses.append(([], here))
            else:
                clauses[-1] = ([], here)
        elif word in (",", "(", ")", "-"):
            time = clauses[-1][1]
            opened_sentence = len(clauses) == 1 and time
            clauses.append(([], {"<": ">", ">": "<"}[time] if opened_sentence else ""))
        else:
            clauses[-1][0].append(word)
    yield from clauses

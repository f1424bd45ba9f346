"""What the keep-distinct guard sees of a text: its literals, names, choices, and how its words are used. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from synde_pipeline.memory.lexicon import MEANING, NUMBERS, SIDES, STOP, UNITS, stem

_COUNTS = re.compile(r"\s*\(\d+(?:%? of \d+)?[^()\d]*\btasks?\b[^()]*\)")
_PHRASES = [
    (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), words)
    for pattern, words in (
        (r"(?:does|do|did|will|would) ?n[o']t work", "fails"),
        (r"not (?:only|just|even|necessarily)", ""),
        (r"instead of|rather than|no longer", "not"),
        (r"impossible", "not possible"),
        (r"unknown", "not known"),
        (r"prior to|ahead of", "before"),
        (r"as soon as", "after"),
        (r"look(?:ing|s|ed)? up", "lookup"),
        (r"(?:turn|switch)(?:ing|s|es|ed)? (\w+ )?on", r"enable \1"),
        (r"(?:turn|switch)(?:ing|s|es|ed)? (\w+ )?off", r"disable \1"),
        (r"one[- ]way", "oneway"),
        (r"round[- ]trip", "roundtrip"),
        (r"(?:log|sign)(?:ging|ing|s)? (in|out)", r"log\1"),
    )
]
_TOKEN = re.compile(
    r"""(?P<link>https?://[^\s"'<>)]+|[\w.+-]+@[\w-]+\.[\w.]+)
    |(?P<quoted>"[^"]+"|`[^`]+`|(?<!\w)'[^']+'(?!\w))
    |(?P<arrow>\w+(?:\s*(?:->|→)\s*\w+)+)
    |(?P<path>(?:~|\.{1,2})?(?:/[\w.{}-]+)+/?|\w[\w.-]*/[\w.-]*[\d._/][\w./-]*)
    |(?P<number>(?<!\w)[$€£]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w*[\d_])(?:\s?[%$€£])?)
    |(?P<literal>(?<!\w)--?[a-z][\w-]*|\#\w+|\w+\(\)|(?=\w*[_\d]|\w+-\d|\w*[a-z][A-Z])\w+(?:[-.]\w+)*|\w+(?:\.\w+)+)
    |(?P<word>[^\W\d_]+(?:'[a-z]+)?)
    |(?P<end>[.;:!?\n])
    |(?P<comma>[,()]|\s-\s)""",
    re.VERBOSE,
)
_NOT = frozenset(
    {"not", "no", "never", "none", "cannot", "neither", "nor", "non", "avoid", "avoids", "avoiding", "refrain"}
)
_CONDITIONS = frozenset({"until", "till", "unless", "without"})
"""After a negation they name what comes first: "never refund without asking"."""
_TURNING = _CONDITIONS | {"before"}
_TIMES = frozenset({"before", "after", "once", "then"})
_ARTICLES = frozenset({"a", "an", "the"})
_SWAP = {"<": ">", ">": "<"}
_PREFIXES = ("un", "in", "im", "ir", "dis", "non", "mis", "de")

Slot = tuple[str, str]
"""The words before and after a place; articles are left out."""


@dataclass(frozen=True)
class Reading:
    """What the guard sees of a text."""

    key: tuple[object, ...]
    """Literals in alphabetical order; numbers, each with its unit, in the order of the text."""
    content: tuple[str, ...]
    """Meanings of the words that carry content, in their order."""
    words: frozenset[str]
    """The same, as a set."""
    repeated: frozenset[str]
    """Those said twice or more."""
    names: frozenset[str]
    """Capitalised and quoted words, lower case."""
    tokens: frozenset[str]
    """All words, lower case."""
    negated: frozenset[str]
    """Meanings that are negated somewhere."""
    earlier: frozenset[str]
    """Meanings that always come before something else where an order is told."""
    later: frozenset[str]
    """Those that always come after something else."""
    opposites: tuple[tuple[str, str], ...]
    """Words with a prefix that may negate, and the rest of them: `unpaid` and `paid`."""
    sides: Mapping[int, frozenset[int]]
    """Choice -> the sides of it that are named."""
    sentences: tuple[tuple[str, ...], ...]
    """Meanings of all words in their order, or the words that have none; articles are left out."""

    @cached_property
    def slots(self) -> Mapping[Slot, frozenset[tuple[str, ...]]]:
        """Place -> the one or two words with content that stand there."""
        slots: dict[Slot, set[tuple[str, ...]]] = defaultdict(set)
        for sentence in self.sentences:
            around = ("", *sentence, "")
            has_content = [word in self.words or word == "one" for word in around]
            for at in range(1, len(around) - 1):
                if has_content[at]:
                    slots[around[at - 1], around[at + 1]].add(around[at : at + 1])
                    if has_content[at + 1]:
                        slots[around[at - 1], around[at + 2]].add(around[at : at + 2])
        return {slot: frozenset(found) for slot, found in slots.items()}


def said(text: str) -> str:
    """A text without the counts of evidence that the fold appends: `(3 of 4 tasks)`."""
    return _COUNTS.sub("", text)


@lru_cache(maxsize=2**14)  # a text is read again by every fold; a reading takes about 5 KB
def read(text: str) -> Reading:
    """Read a text as the guard sees it."""
    for pattern, words in _PHRASES:
        text = pattern.sub(words, text)
    reader = _Reader()
    for sentence in _sentences(text):
        reader.take(sentence)
    return reader.result()


def _sentences(text: str) -> Iterator[list[tuple[str, str]]]:
    """Sentences as (kind, token); what a clause ends with is a token too."""
    sentence: list[tuple[str, str]] = []
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        if kind != "end":
            sentence.append((kind, found[0].strip()))
        elif sentence:
            yield _measured(sentence)
            sentence = []
    if sentence:
        yield _measured(sentence)


class _Reader:
    """Collects what sentences say."""

    def __init__(self) -> None:
        self.literals: set[str] = set()
        self.numbers: dict[str, None] = {}
        self.names: set[str] = set()
        self.tokens: set[str] = set()
        self.content: list[str] = []
        self.negated: set[str] = set()
        self.times: dict[str, set[str]] = defaultdict(set)
        self.sides: dict[int, set[int]] = defaultdict(set)
        self.sentences: list[tuple[str, ...]] = []

    def result(self) -> Reading:
        words = frozenset(self.content)
        return Reading(
            key=(tuple(sorted(self.literals)), tuple(self.numbers)),
            content=tuple(self.content),
            words=words,
            repeated=frozenset(word for word, n in Counter(self.content).items() if n > 1),
            names=frozenset(self.names),
            tokens=frozenset(self.tokens),
            negated=frozenset(self.negated),
            earlier=frozenset(self.times["<"] - self.times[">"]),
            later=frozenset(self.times[">"] - self.times["<"]),
            opposites=tuple(
                (word, _meaning(word.removeprefix(prefix)))
                for word in sorted(words)
                for prefix in _PREFIXES
                if word.startswith(prefix) and word != prefix
            ),
            sides={choice: frozenset(found) for choice, found in self.sides.items()},
            sentences=tuple(self.sentences),
        )

    def take(self, sentence: list[tuple[str, str]]) -> None:
        """Take in one sentence."""
        words = self._words(sentence)
        self.tokens.update(words)
        meanings = [_meaning(word) for word in words]
        self.sentences.append(
            tuple(meaning or word for word, meaning in zip(words, meanings, strict=True) if word not in _ARTICLES)
        )
        for word in words:
            if side := SIDES.get(stem(word)):
                self.sides[side[0]].add(side[1])
        negation = next((at for at, word in enumerate(words) if _negates(word)), len(words))
        turned = not _TURNING.isdisjoint(words[negation:])
        for start, end, time in _clauses(words, turned=turned):
            negates = False
            for word, meaning in zip(words[start:end], meanings[start:end], strict=True):
                if _negates(word) or word == "without":
                    negates = not turned
                elif meaning:
                    self.content.append(meaning)
                    self.times[time].add(meaning)
                    if negates:
                        self.negated.add(meaning)
                    negates = False

    def _words(self, sentence: list[tuple[str, str]]) -> list[str]:
        """The sentence's words in lower case, with literals, numbers and names noted on the way."""
        words: list[str] = []
        capitals = sum(token[0].isupper() for kind, token in sentence if kind == "word")
        title_case = len(sentence) > 2 and capitals > len(sentence) / 2
        for at, (kind, token) in enumerate(sentence):
            lower = token.lower()
            if kind == "number":
                self.numbers[token] = None
                words.append(token)
            elif kind == "word":
                is_name = token[0].isupper() and at > 0 and not title_case
                if (is_name or (len(token) > 1 and token.isupper())) and lower not in STOP:
                    self.names.add(lower)
                words.append(lower)
            elif kind == "quoted":
                words += self._quoted(token[1:-1])
            elif kind == "comma":
                words.append(token)
            else:
                words.append(re.sub(r"\s*(?:->|→)\s*", "->", token))
                self.literals.add(words[-1])
        return words

    def _quoted(self, text: str) -> list[str]:
        found = [(str(part.lastgroup), part[0].strip()) for part in _TOKEN.finditer(text)]
        self.names.update(token.lower() for kind, token in found if kind == "word")
        self.literals.update(token for kind, token in found if kind not in ("word", "comma", "end"))
        return [token.lower() for kind, token in found if kind not in ("comma", "end")]


def _negates(word: str) -> bool:
    return word in _NOT or word.endswith("n't")


def _meaning(word: str) -> str:
    """The stem that stands for what a word means; empty for words without content."""
    if word.startswith("#"):
        return word
    if word in STOP or word in _TIMES or word in _CONDITIONS or _negates(word) or not word[-1].isalnum():
        return ""
    root = stem(word)
    return MEANING.get(root, root)


def _measured(sentence: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The tokens with each number, in digits or words, as one token with its unit: `#24hour`."""
    found: list[tuple[str, str]] = []
    for kind, token in sentence:
        lower = token.lower()
        if kind == "number" or (kind == "word" and lower in NUMBERS):
            found.append(("number", _number(NUMBERS.get(lower, token))))
        elif kind == "word" and lower in UNITS and found and found[-1][0] == "number" and found[-1][1][-1].isdigit():
            found[-1] = ("number", found[-1][1] + UNITS[lower])
        else:
            found.append((kind, token))
    return found


def _number(token: str) -> str:
    value = re.sub(r"[^\d.]", "", token)
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    sign = re.sub(r"[\d.,\s]", "", token)
    return f"#{value}{UNITS.get(sign, '')}"


def _clauses(words: Sequence[str], *, turned: bool) -> list[tuple[int, int, str]]:
    """Cut a sentence into clauses (start, end, time); time is `<` earlier, `>` later, or empty where it is not said.

    "Never refund before (until, unless, without) asking" says "ask before you refund": it is `turned`.
    """
    clauses: list[tuple[int, int, str]] = []
    start, time = 0, ""
    for at, word in enumerate(words):
        after = _time_after(word, turned=turned)
        if after and at == start == 0:
            time = after if "," in words else ""  # else nothing says where its clause ends
        elif after:
            before = clauses.pop()[0] if at == start and clauses else start  # "cancel it, then book"
            clauses.append((before, at, time or _SWAP[after]))
            start, time = at + 1, after
        elif word in (",", "(", ")"):
            clauses.append((start, at, time))
            start, time = at + 1, _SWAP.get(time, "") if start == 0 else ""
    return [*clauses, (start, len(words), time)]


def _time_after(word: str, *, turned: bool) -> str:
    """When that happens which follows a word: `<` before the rest of the sentence, `>` after it."""
    if word in ("after", "once"):
        return ">" if turned else "<"
    if word == "before":
        return "<" if turned else ">"
    if word == "then":
        return ">"
    return "<" if turned and word in _CONDITIONS else ""

"""Which lessons never merge, however near their vectors are: the keep-distinct guard. Pure.

A sentence embedding says what a text is about, hardly what it says: opposites, and the same advice with another tool,
number or name, are nearer to each other than most paraphrases are. So two texts are kept apart when what they say
literally differs. A wrong merge loses a lesson, a missed one costs a few tokens: in doubt they differ.
"""

from itertools import product

from synde_pipeline.memory.reading import Reading

_EDIT = 2
"""Words that a single edit may replace; longer ones are rewordings."""


def differ(a: Reading, b: Reading) -> str:
    """Why two texts must not merge, in one word; empty if nothing speaks against it. Symmetric.

    * `literal`: identifiers, paths, links, orders of tools, and numbers with their units are not the same;
    * `name`: a capitalised or quoted word of one is nowhere in the other;
    * `choice`: of words that exclude each other, each text has one that the other lacks;
    * `mark`: a word that both use is negated in one only, comes earlier here and later there, or has its opposite
      there (`paid`, `unpaid`);
    * `slot`: another word stands at the same place between the same neighbours, or two words have swapped places;
    * `edit`: they are equal but for a word or two at one place, and a word there is new;
    * `topic`: each text repeats a word that the other does not have.
    """
    if a is b:
        return ""
    return next((reason for reason, is_so in _CHECKS if is_so(a, b)), "")


def _other_literal(a: Reading, b: Reading) -> bool:
    return a.key != b.key


def _other_name(a: Reading, b: Reading) -> bool:
    return not (a.names <= b.tokens and b.names <= a.tokens)


def _other_choice(a: Reading, b: Reading) -> bool:
    both = a.sides.keys() & b.sides.keys()
    return any(not (a.sides[choice] <= b.sides[choice] or b.sides[choice] <= a.sides[choice]) for choice in both)


def _other_mark(a: Reading, b: Reading) -> bool:
    if (a.negated ^ b.negated) & a.words & b.words or a.earlier & b.later or a.later & b.earlier:
        return True
    return any(
        rest in right.words and rest not in left.words and word not in right.words
        for left, right in ((a, b), (b, a))
        for word, rest in left.opposites
    )


def _other_slot(a: Reading, b: Reading) -> bool:
    pairs = set[tuple[tuple[str, ...], tuple[str, ...]]]()
    for slot in a.slots.keys() & b.slots.keys():
        here, there = a.slots[slot], b.slots[slot]
        if here != there:
            pairs.update(product(here - there, there - here))
    return any((not b.words.issuperset(x) and not a.words.issuperset(y)) or (y, x) in pairs for x, y in pairs)


def _other_edit(a: Reading, b: Reading) -> bool:
    if len(a.words ^ b.words) > 2 * _EDIT:
        return False
    head = _n_equal(a.content, b.content)
    left, right = a.content[head:], b.content[head:]
    tail = _n_equal(left[::-1], right[::-1])
    left, right = left[: len(left) - tail], right[: len(right) - tail]
    return max(len(left), len(right)) <= _EDIT and not (b.words.issuperset(left) and a.words.issuperset(right))


def _other_topic(a: Reading, b: Reading) -> bool:
    return bool(a.repeated - b.words and b.repeated - a.words)


def _n_equal(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """How many first words are equal."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


_CHECKS = (
    ("literal", _other_literal),
    ("name", _other_name),
    ("choice", _other_choice),
    ("mark", _other_mark),
    ("slot", _other_slot),
    ("edit", _other_edit),
    ("topic", _other_topic),
)
"""The cheap ones first."""

"""Which lessons never merge, however near their vectors are: the keep-distinct guard. Pure.

A sentence embedding says what a text is about, hardly what it says: opposites, and the same advice with another tool,
number or name, are nearer to each other than most paraphrases are. So two texts are kept apart when what they say
literally differs. A wrong merge loses a lesson, a missed one costs a few tokens: in doubt they differ.
"""

from itertools import product

from synde_pipeline.memory.reading import Reading


def differ(a: Reading, b: Reading) -> str:
    """Why two texts must not merge, in one word; empty if nothing speaks against it. Symmetric.

    * `literal`: identifiers, paths, links, orders of tools, and numbers with their units are not the same;
    * `name`: a capitalised or quoted word of one is nowhere in the other;
    * `choice`: of words that exclude each other, each text has one that the other lacks;
    * `mark`: a word that both use is affirmed here and negated there, or comes earlier here and later there, or has
      its opposite there (`refundable`, `non-refundable`);
    * `slot`: another word stands at the same place between the same neighbours, or two words have swapped places;
    * `topic`: each text repeats a word that the other does not have.
    """
    if a is b:
        return ""
    if a.key != b.key:
        return "literal"
    if not (a.names <= b.tokens and b.names <= a.tokens):
        return "name"
    if any(_apart(a.sides[choice], b.sides[choice]) for choice in a.sides.keys() & b.sides.keys()):
        return "choice"
    if (a.negated ^ b.negated) & a.words & b.words or a.earlier & b.later or a.later & b.earlier:
        return "mark"
    if _has_opposite(a, b) or _has_opposite(b, a):
        return "mark"
    if _replaced(a, b):
        return "slot"
    return "topic" if a.repeated - b.words and b.repeated - a.words else ""


def _apart(a: frozenset[int], b: frozenset[int]) -> bool:
    return not (a <= b or b <= a)


def _has_opposite(a: Reading, b: Reading) -> bool:
    return any(rest in b.words and rest not in a.words and word not in b.words for word, rest in a.opposites)


def _replaced(a: Reading, b: Reading) -> bool:
    """Whether a place that both texts have holds another word, or two words have swapped their places."""
    pairs = set[tuple[tuple[str, ...], tuple[str, ...]]]()
    for slot in a.slots.keys() & b.slots.keys():
        here, there = a.slots[slot], b.slots[slot]
        if here != there:
            pairs.update(product(here - there, there - here))
    return any((not b.words.issuperset(x) and not a.words.issuperset(y)) or (y, x) in pairs for x, y in pairs)

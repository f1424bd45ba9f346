"""Pre-training data of the embedded base: episodes of a scripted expert, and drills in looking things up.

Every sequence draws places' conventions anew, so the weights can hold no fact about a place: what pays is to look facts
up by name and stage, to try what is left, and to copy the value. Names are those of `SEEN_IN_PRETRAINING` only. Texts
are put together with the markers of `prompting`; a test compares the two token by token.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from synde_pipeline.prompting import ACT, ARGS, AVOID, END, MEMORY, SEE, TASK, THINK
from synde_pipeline.simulation.worlds.base import (
    ANSWER,
    FIRSTS,
    SECONDS,
    SEEN_IN_PRETRAINING,
    SPARE_STEPS,
    Stage,
    World,
    is_held_out,
    value_of,
)
from synde_pipeline.simulation.worlds.registry import WORLDS, words

Encode = Callable[[str], list[int]]

_DOMAINS = tuple(WORLDS.values())
_WORDS = tuple(words())


@dataclass
class Sequence_:
    """One training sequence: token ids, and for each target position the distribution that the expert draws from."""

    ids: list[int] = field(default_factory=list)
    targets: list[tuple[int, dict[int, float]]] = field(default_factory=list)
    """(position, token -> probability): what ids[position] should be, given everything before it."""


@dataclass(frozen=True)
class Hint:
    """One memory item, as the prompt shows it."""

    name: str
    tool: str
    option: str
    is_avoid: bool = False


@dataclass(frozen=True)
class Mix:
    """Shares of the corpus at one point of the training."""

    drills: float
    """Share of sequences that are look-up drills."""
    hinted: float
    """Share of episodes with any memory."""
    distractors: int
    """Most hints about other places in one prompt."""
    random_words: float = 0.0
    """Share of drills whose values are any words instead of the stage's options."""
    one_stage: float = 0.5
    """Share of drills of full length about one stage of many places, so that only the name tells."""
    lengths: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    """Weights of the drills' lengths, the shortest first."""
    facts: int = 12
    """Most facts in a drill."""


class Corpus:
    """An endless stream of training sequences, seeded.

    Args:
        tokens: text -> token ids; called once for each different text.
        seed: of everything drawn.
    """

    def __init__(self, tokens: Encode, marker: Callable[[str], int], seed: int) -> None:
        self._tokens = tokens
        self._cache: dict[str, list[int]] = {}
        self._marker = {name: marker(name) for name in (TASK, MEMORY, SEE, THINK, ACT, ARGS, END, AVOID)}
        self.random = random.Random(seed)  # noqa: S311 - training data, no secret

    def text(self, text: str) -> list[int]:
        """Token ids of a text, from the cache."""
        found = self._cache.get(text)
        if found is None:
            found = self._cache[text] = self._tokens(text)
        return found

    def draw(self, mix: Mix) -> Sequence_:
        """One sequence of the mix."""
        return self._drill(mix) if self.random.random() < mix.drills else self._episode(mix)

    # -- pieces -------------------------------------------------------------------------------------------------

    def _name(self, like: str | None = None) -> str:
        """A name that pre-training may see; one that shares a syllable with another when asked."""
        r = self.random
        while like is not None:
            name = like[:3] + r.choice(SECONDS) if r.random() < 0.5 else r.choice(FIRSTS) + like[3:]
            if name != like and not is_held_out(name):
                return name
        return r.choice(SEEN_IN_PRETRAINING)

    def _hint(self, sequence: Sequence_, hint: Hint) -> None:
        m = self._marker
        sequence.ids += [*self.text(hint.name), m[ACT], *self.text(hint.tool), m[AVOID if hint.is_avoid else ARGS]]
        sequence.ids += self.text(hint.option)

    def _turn(self, sequence: Sequence_, name: str, tool: str, option: str, wanted: dict[str, float]) -> None:
        """Append an agent's turn; the option is drawn from `wanted`, which is what the model should predict there."""
        m = self._marker
        start = len(sequence.ids)
        sequence.ids += [m[THINK], *self.text(name), m[ACT], *self.text(tool), m[ARGS]]
        at = len(sequence.ids)
        sequence.ids += [*self.text(option), m[END]]
        sequence.targets += [(k, {sequence.ids[k]: 1.0}) for k in range(start, len(sequence.ids))]
        if len(wanted) > 1:
            k = at - start + len(sequence.targets) - (len(sequence.ids) - start)
            sequence.targets[k] = (at, {self.text(text)[0]: share for text, share in wanted.items()})

    # -- drills -------------------------------------------------------------------------------------------------

    def _drill(self, mix: Mix) -> Sequence_:
        """Facts about places, then look-ups of them: some again, some never, so that counting off finds nothing.

        A short drill leaves out the parts between a name and its value: from `mek browse` over `zormek browse` and
        `zormek <args> browse` the look-up grows to what an agent writes. Only the values are targets.
        """
        r = self.random
        world = r.choice(_DOMAINS)
        length = r.choices(range(4), mix.lengths)[0]
        n = r.randint(2, mix.facts)
        one_stage = length < 3 or r.random() < mix.one_stage
        stages = r.sample(world.stages, 1 if one_stage else r.randint(2, 3))
        names = self._names(n if one_stage else r.randint(1, 4))
        keys = list(dict.fromkeys((r.choice(names), r.choice(stages)) for _ in range(n)))
        any_word = r.random() < mix.random_words
        facts = [Hint(name, stage.tool, r.choice(_WORDS if any_word else stage.options)) for name, stage in keys]
        sequence = Sequence_([self._marker[TASK], *self.text(world.domain), self._marker[MEMORY]])
        for fact in facts:
            self._fact(sequence, fact, length)
        for fact in r.choices(facts, k=len(facts) * 3 // 2):
            if length == 3:
                sequence.ids.append(self._marker[THINK])
            self._fact(sequence, fact, length)
            at = len(sequence.ids) - len(self.text(fact.option))
            sequence.targets += [(k, {sequence.ids[k]: 1.0}) for k in range(at, len(sequence.ids))]
            if length == 3:
                sequence.ids.append(self._marker[END])
        return sequence

    def _names(self, n: int) -> list[str]:
        """Names of a drill; every other drill's share a syllable, so that both decide."""
        first = self._name()
        alike = self.random.random() < 0.5
        return list(dict.fromkeys([first, *(self._name(first if alike else None) for _ in range(n - 1))]))

    def _fact(self, sequence: Sequence_, fact: Hint, length: int) -> None:
        m = self._marker
        sequence.ids += self.text(fact.name)[-1:] if length == 0 else self.text(fact.name)
        if length == 3:
            sequence.ids += [m[ACT], *self.text(fact.tool)]
        if length >= 2:
            sequence.ids.append(m[ARGS])
        sequence.ids += self.text(fact.option)

    # -- episodes -----------------------------------------------------------------------------------------------

    def _episode(self, mix: Mix) -> Sequence_:
        r = self.random
        world = r.choice(_DOMAINS)
        name = self._name()
        stages = world.passed(4 if r.random() < 0.7 else r.randint(2, 6))
        right = {stage.tool: r.choice(stage.options) for stage in stages}
        hints = self._own_hints(name, stages, right) if r.random() < mix.hinted else []
        told = {hint.tool: hint for hint in hints}
        hints += [self._distractor(name, world, stages, right) for _ in range(_skewed(r, mix.distractors))]
        r.shuffle(hints)
        ask = f"{world.domain}: {world.ask.format(thing=r.choice(world.things), name=name)}"
        sequence = self._header(ask, name)
        if hints:
            sequence.ids.append(self._marker[MEMORY])
        for hint in hints:
            self._hint(sequence, hint)
        self._act(sequence, name, stages, right, told)
        return sequence

    def _header(self, ask: str, name: str) -> Sequence_:
        # The cache would fill with one entry per name and thing: encode the parts that repeat.
        head, tail = ask.split(name)
        return Sequence_([self._marker[TASK], *self.text(head), *self.text(name), *(self.text(tail) if tail else [])])

    def _own_hints(self, name: str, stages: Sequence[Stage], right: dict[str, str]) -> list[Hint]:
        """Hints about the place itself: all, or some of what it takes; now and then what to avoid, or a wrong one."""
        r = self.random
        share = r.choice((1.0, 1.0, 1.0, 0.75, 0.5, 0.25))
        hints = []
        for stage in stages:
            if r.random() >= share:
                continue
            wrong = [option for option in stage.options if option != right[stage.tool]]
            if r.random() < 0.15:
                some = sorted(r.sample(wrong, r.randint(1, len(wrong))))
                hints.append(Hint(name, stage.tool, ", ".join(some), is_avoid=True))
            else:
                option = r.choice(wrong) if r.random() < 0.02 else right[stage.tool]
                hints.append(Hint(name, stage.tool, option))
        return hints

    def _distractor(self, name: str, world: World, stages: Sequence[Stage], right: dict[str, str]) -> Hint:
        """A hint about another place: most often at a stage of this task, with an option that would be wrong here."""
        r = self.random
        other = self._name(name if r.random() < 0.3 else None)
        if r.random() < 0.15:
            world = r.choice(_DOMAINS)
            stages = world.stages
        stage = r.choice(stages)
        options = [option for option in stage.options if option != right.get(stage.tool)]
        if r.random() < 0.15:
            some = sorted(r.sample(stage.options, r.randint(1, len(stage.options) - 1)))
            return Hint(other, stage.tool, ", ".join(some), is_avoid=True)
        return Hint(other, stage.tool, r.choice(options if r.random() < 0.8 else stage.options))

    def _act(
        self, sequence: Sequence_, name: str, stages: Sequence[Stage], right: dict[str, str], told: dict[str, Hint]
    ) -> None:
        """The expert: does what it was told, else tries what is left; repeats what timed out."""
        r = self.random
        seen = f"start {stages[0].tool}"
        value = value_of(r.getrandbits(32))
        n_left = len(stages) + 1 + SPARE_STEPS
        for at, stage in enumerate(stages):
            failed: set[str] = set()
            following = stages[at + 1].tool if at + 1 < len(stages) else ANSWER
            shows = stage.tool in ("extract", "bisect", "solve")
            repeat: str | None = None
            while n_left:
                n_left -= 1
                wanted = {repeat: 1.0} if repeat else _wanted(stage, told.get(stage.tool), failed)
                option = r.choice(list(wanted))
                self._see(sequence, seen)
                self._turn(sequence, name, stage.tool, option, wanted)
                if option != right[stage.tool]:
                    if stage.is_final and option != stage.options[0]:
                        return
                    failed.add(option)
                    seen = f"{stage.wrong} {stage.tool}"
                elif repeat is None and r.random() < 0.04:
                    repeat = option
                    seen = f"timeout {stage.tool}"
                else:
                    seen = f"{stage.done} {value} {following}" if shows else f"{stage.done} {following}"
                    break
            if not n_left:
                return
        self._see(sequence, seen)
        self._turn(sequence, name, ANSWER, value, {value: 1.0})

    def _see(self, sequence: Sequence_, text: str) -> None:
        sequence.ids += [self._marker[SEE], *self.text(text)]


def _wanted(stage: Stage, hint: Hint | None, failed: set[str]) -> dict[str, float]:
    """What the expert does at a stage, as a distribution over options."""
    if hint is not None and not hint.is_avoid and hint.option not in failed:
        return {hint.option: 1.0}
    avoided = set(hint.option.split(", ")) if hint is not None and hint.is_avoid else set()
    left = [option for option in stage.options if option not in failed and option not in avoided]
    left = left or [option for option in stage.options if option not in failed]
    return dict.fromkeys(left, 1 / len(left))


def _skewed(r: random.Random, most: int) -> int:
    """A number of distractors, 0 to `most`; none in a third of the episodes."""
    return 0 if most == 0 or r.random() < 1 / 3 else r.randint(1, most)

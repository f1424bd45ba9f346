"""The notes' other learner: a language model does the induction and the revision, in the same grammar.

It is shown examples in the notebook's own words, never a log's text. What it answers counts only as far as it can be
read back: other lines, lines beyond the budget and changes of the words that momentum keeps are dropped here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from synde_pipeline.llm import Llm, Message, Price, Request
from synde_pipeline.memory.notes import Example
from synde_pipeline.memory.notes_text import Wording, kept, within_budget
from synde_pipeline.settings import NotesConfig

Turn = tuple[str, str]
"""Role and text of one message."""


class NotesAnswer(BaseModel):
    """What the model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentences: list[str]


Ask = Callable[[Sequence[Turn], type[NotesAnswer]], NotesAnswer]
"""Puts messages to a language model, and comes back with an answer of the given shape."""

AskFor = Callable[[Sequence[str]], Ask]
"""Uids of the trajectories that a prompt rests on -> what puts it to a language model."""

_ROLE = """\
You keep a short notebook of rules that you find in examples. Each rule is one sentence of exactly this form, with the \
conditions copied word for word from the examples, at most two of them joined by "and": {form}"""
_INDUCTION = """\
Examples, each with its conditions and what it turned out to be:
{examples}

Write the rules that these examples support best, the best supported first, at most {most}."""
_NEW = "New rules, from several batches of new examples:"
"""Only a revision says so."""
_REVISION = """\
The notebook so far:
{notes}

New rules, from several batches of new examples:
{batches}

Merge the new rules into the notebook: at most {words} words in all, the rules that matter most first, no rule twice. \
{momentum}"""


@dataclass(frozen=True)
class LlmLearner:
    """A learner that asks."""

    wording: Wording
    config: NotesConfig
    ask: Ask
    most: int = 12
    """Sentences of a batch note."""

    def learn(self, notes: str, minibatches: Sequence[Sequence[Example]]) -> str:
        """One question for each minibatch, and one for the revision."""
        batches = "\n\n".join("\n".join(self._asked(self._induction(batch))) for batch in minibatches)
        first = kept(notes, self.config.momentum)
        momentum = "Begin with these sentences, unchanged:\n" + "\n".join(first) if first else ""
        question = _REVISION.format(
            notes=notes or "(empty)", batches=batches or "(none)", words=self.config.max_words, momentum=momentum
        )
        new = [line for line in self._asked(question) if line not in first]
        return within_budget(self.config.max_words, [*first, *new])

    def _induction(self, batch: Sequence[Example]) -> str:
        lines = (f"- {', '.join(sorted(example.conditions))}: {example.label}" for example in batch)
        return _INDUCTION.format(examples="\n".join(lines), most=self.most)

    def _asked(self, question: str) -> list[str]:
        """The answer's sentences that can be read, each once."""
        role = _ROLE.format(form=self.wording.form)
        answer = self.ask([("system", role), ("user", question)], NotesAnswer)
        said = dict.fromkeys(" ".join(sentence.split()) for sentence in answer.sentences)
        return [line for line in said if self.wording.read(line)]


def asking(llm: Llm) -> AskFor:
    """Put prompts to a language model; removing a trajectory removes the answers that it had part in."""

    def ask_for(uids: Sequence[str]) -> Ask:
        return lambda turns, shape: llm.ask(_request(turns, shape, uids))

    return ask_for


class Pricing:
    """Stands for a language model and adds up what one notebook would cost at most; what is there costs nothing.

    A missing answer is taken for an empty one. The revisions behind it depend on it: each of them counts, with all
    that it may quote.
    """

    def __init__(self, llm: Llm, config: NotesConfig) -> None:
        self._llm, self._quoted = llm, (config.accumulation + 2) * llm.config.max_output_tokens
        self._counted: set[Request[NotesAnswer]] = set()
        self.price = Price()
        """So far."""

    def ask_for(self, uids: Sequence[str]) -> Ask:
        """As `asking` does."""
        return lambda turns, shape: self._answer(_request(turns, shape, uids), is_revision=_NEW in turns[-1][1])

    def _answer(self, request: Request[NotesAnswer], *, is_revision: bool) -> NotesAnswer:
        if is_revision and self.price.calls:
            self.price += self._llm.at_most(request, more_in=self._quoted)
            return NotesAnswer(sentences=[])
        if request not in self._counted:
            self._counted.add(request)
            self.price += self._llm.price(request)
        return self._llm.cached(request) or NotesAnswer(sentences=[])


def _request(turns: Sequence[Turn], shape: type[NotesAnswer], uids: Sequence[str]) -> Request[NotesAnswer]:
    return Request(tuple(Message(*turn) for turn in turns), shape, tuple(uids))  # type: ignore[arg-type]

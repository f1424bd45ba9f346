"""The layout of a model's own chat template.

    system      what is asked of the agent, and memory items
    user        domain: task, and the first state
    assistant   reasoning, then the tool's name on a line and its arguments below
    user        the next state, and so on

Calls are text and no `tool_calls`: templates write those in forms of their own, escape the arguments, or refuse them
without ids, and what is learned must be what an agent can read back. Reasoning goes where the template puts it, else
before the action, with a blank line between. Outer blanks of contents are stripped: most templates do so.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from synde_pipeline.errors import ChatTemplateError
from synde_pipeline.prompting.parts import (
    LEARNED,
    Budget,
    Header,
    Said,
    StepSpan,
    TextEncoder,
    Turn,
    Window,
    cuts,
    item_text,
)
from synde_pipeline.prompting.template import ChatTemplate, Flags, Skeleton, Slot
from synde_pipeline.records import REPLY, MemoryItem
from synde_pipeline.settings import PromptConfig

_ASK = "Work on the task. Answer with the name of a tool on one line and its arguments below."
_NOTHING = "(nothing new)"
"""What a user turn says where the log shows the agent nothing: between parallel calls."""


class _Step(NamedTuple):
    """One step's contents as tokens."""

    number: int
    """Index in its trajectory."""
    state: list[int]
    reasoning: list[int]
    tool: list[int]
    arguments: list[int]
    n_elided: int


class _Rendered(NamedTuple):
    ids: list[int]
    spans: list[StepSpan]
    """Of all steps; only the last one is sound where the template is not prefix-stable."""
    header_end: int
    """Where the task ends."""


class ChatLayout:
    """Renders with the tokenizer's chat template.

    Raises:
        ChatTemplateError: the template cannot be used.
    """

    name = "chat"

    def __init__(self, texts: TextEncoder, tokenizer: Any, config: PromptConfig) -> None:
        self._texts = texts
        self._template = ChatTemplate(tokenizer)
        self._window = config.window
        self._encoded: dict[str, list[int]] = {}
        self._gap, self._line = texts.text("\n\n"), texts.text("\n")
        self._ask, self._nothing = texts.text(_ASK), texts.text(_NOTHING)
        ours = [self._ask, self._nothing, self._gap, self._gap, self._gap, self._line]
        skeletons = [self._template.skeleton((flag,)) for flag in {False, self._template.has_thinking}]
        texts_of = [[*(text for text, _ in one.parts), one.opening, one.closing] for one in skeletons]
        overhead = sum(map(len, ours)) + max(sum(len(self._fixed(text)) for text in each) for each in texts_of)
        if overhead > config.window // 2:
            raise ChatTemplateError(f"the template takes {overhead} of the window's {config.window} tokens")
        self._budget = Budget.of(config, overhead)

    def is_prefix_stable(self, turns: Iterable[Turn]) -> bool:
        """Whether one rendering holds the prompts and answers of all steps as the agent saw and gave them."""
        return self._template.is_prefix_stable(self._flags(turn.reasoning.strip() for turn in turns))

    def tool_ids(self, tool: str) -> list[int]:
        """Tokens of a tool's name and the line break after it."""
        return [*self._texts.elide(tool, self._budget.tool)[0], *self._line]

    def prompt(self, task: str, memory: Sequence[MemoryItem]) -> Window:
        """Task and memory, up to where the agent begins to write."""
        header, skeleton = self._header(task, memory), self._template.skeleton((False,))
        ids: list[int] = []
        for text, slot in skeleton.parts[:-1]:
            ids += [*self._fixed(text), *self._content(slot, header, _Step(0, [], [], [], [], 0), is_first=True)]
        ids += self._fixed(skeleton.opening)
        return Window(ids, n_context_tokens=len(header.memory), n_elided=header.n_elided)

    @property
    def stop(self) -> list[int]:
        """Tokens that end what the agent writes."""
        return self._end_of_turn(self._template.skeleton((False,)))

    def read(self, ids: Sequence[int], tools: Collection[str], *, is_whole: bool) -> Said | None:
        """Take apart what a model wrote, as far as it is; None where its tool cannot be told yet, or at all."""
        text, thought = self._texts.decode(ids, marks=True), ""
        if self._template.has_thinking:
            lead, mark = self._thinking
            before, found, after = text.partition(mark)
            if found:
                thought, text = before.strip().removeprefix(lead).strip(), after
            elif lead and text.lstrip().startswith(lead):
                return None
        lines = text.lstrip().split("\n")
        for k, line in enumerate(lines if is_whole else lines[:-1]):
            if line.strip() in tools or line.strip() == REPLY:
                told = "\n".join(filter(None, [thought, "\n".join(lines[:k]).strip()]))
                return Said(told, line.strip(), "\n".join(lines[k + 1 :]).strip())
        return None

    @cached_property
    def _thinking(self) -> tuple[str, str]:
        """What the template writes before reasoning, and between it and the action; without outer blanks."""
        skeleton = self._template.skeleton((True,))
        at = next(k for k, (_, slot) in enumerate(skeleton.parts) if slot.kind == "reasoning")
        return skeleton.parts[at][0].removeprefix(skeleton.opening).strip(), skeleton.parts[at + 1][0].strip()

    def windows(self, task: str, memory: Sequence[MemoryItem], turns: Sequence[Turn]) -> list[Window]:
        """As few windows as hold all steps where the template is prefix-stable, else one for each step."""
        header = self._header(task, memory)
        steps = [self._step(turn) for turn in turns]
        try:
            return list(self._together(header, steps)) if steps else []
        except ChatTemplateError:
            return list(self._apart(header, steps))

    def _together(self, header: Header, steps: list[_Step]) -> Iterator[Window]:
        whole = self._stable(header, steps)
        if len(whole.ids) <= self._window:
            yield self._as_window(header, steps, whole, 0, whole.spans)
            return
        ends = [whole.header_end, *(span.action[1] for span in whole.spans)]
        sizes = [end - before for before, end in pairwise(ends)]
        for first, start, end in cuts(sizes, self._window - whole.header_end):
            shown = self._stable(header, steps[first:end])
            if len(shown.ids) > self._window:
                raise ChatTemplateError("the template writes more around a step in another place")
            yield self._as_window(header, steps[first:end], shown, first, shown.spans[start - first :])

    def _stable(self, header: Header, steps: list[_Step]) -> _Rendered:
        if not self._template.is_prefix_stable(self._flags(step.reasoning for step in steps)):
            raise ChatTemplateError("the template shows earlier steps as they were not")
        return self._render(header, steps)

    def _apart(self, header: Header, steps: list[_Step]) -> Iterator[Window]:
        """Each step as its agent saw it, behind as many earlier steps as fit, or as the template takes."""
        first = 0
        for k in range(len(steps)):
            shown = self._fitting(header, steps[first : k + 1])
            first = k + 1 - len(shown.spans)
            yield self._as_window(header, steps[first : k + 1], shown, first, shown.spans[-1:])

    def _fitting(self, header: Header, steps: list[_Step]) -> _Rendered:
        """The last step behind the longest run of steps that fits; alone it always does."""
        for first in range(len(steps) - 1):
            try:
                shown = self._render(header, steps[first:])
            except ChatTemplateError:
                continue
            if len(shown.ids) <= self._window:
                return shown
        return self._render(header, steps[-1:])

    def _as_window(
        self, header: Header, steps: list[_Step], shown: _Rendered, first: int, targets: list[StepSpan]
    ) -> Window:
        n_elided = header.n_elided + sum(step.n_elided for step in steps)
        return Window(shown.ids, targets, len(header.memory), first, n_elided)

    def _render(self, header: Header, steps: Sequence[_Step]) -> _Rendered:
        """Fill a skeleton; the sequence ends with the last step's end of turn."""
        skeleton = self._template.skeleton(self._flags(step.reasoning for step in steps))
        end_of_turn = self._end_of_turn(skeleton)
        ids: list[int] = []
        spans: list[StepSpan] = []
        header_end = wrote_from = 0
        before = ""
        for text, slot in skeleton.parts:
            # What the model reads and what it writes are encoded apart: a prompt ends where the agent begins.
            lead = {"user": skeleton.opening, "action": skeleton.closing}.get(before, "")
            if text.startswith(lead):
                ids += self._fixed(lead)
                text = text.removeprefix(lead)
            wrote_from = len(ids) if before == "user" else wrote_from
            step = steps[slot.step]
            ids += [*self._fixed(text), *self._content(slot, header, step, is_first=slot.step == 0)]
            if slot == Slot("user", 0):
                header_end = len(ids) - (len(self._gap) + len(step.state) if step.state else 0)
            if slot.kind == "action":
                spans.append(_span(step, wrote_from, len(ids), len(end_of_turn)))
            before = slot.kind
        return _Rendered(ids + end_of_turn, spans, header_end)

    def _content(self, slot: Slot, header: Header, step: _Step, *, is_first: bool) -> list[int]:
        """Tokens of what stands in a slot."""
        system = [*self._ask, *header.memory]
        if slot.kind == "system":
            return system
        if slot.kind == "reasoning":
            return step.reasoning
        if slot.kind == "action":
            thought = [*step.reasoning, *self._gap] if step.reasoning and not self._template.has_thinking else []
            return [*thought, *step.tool, *step.arguments]
        if not is_first:
            return step.state or self._nothing
        lead = [] if self._template.has_system else [*system, *self._gap]
        return [*lead, *header.task, *([*self._gap, *step.state] if step.state else [])]

    def _header(self, task: str, memory: Sequence[MemoryItem]) -> Header:
        lines = [self._texts.text(item_text(item).rstrip()) for item in memory]
        return self._texts.header(task.strip(), lines, self._texts.text(LEARNED), self._budget.header)

    def _step(self, turn: Turn) -> _Step:
        elide, budget = self._texts.elide, self._budget
        state, cut_state = elide(turn.state.strip(), budget.observation)
        reasoning, cut_reasoning = elide(turn.reasoning.strip(), budget.action)
        arguments, cut_arguments = elide(turn.arguments.strip(), budget.action)
        n_elided = cut_state + cut_reasoning + cut_arguments
        return _Step(turn.index, state, reasoning, self.tool_ids(turn.tool), arguments, n_elided)

    def _flags(self, reasoning: Iterable[Any]) -> Flags:
        """Which steps the template is given reasoning for."""
        return tuple(bool(one) and self._template.has_thinking for one in reasoning)

    def _fixed(self, text: str) -> list[int]:
        """Tokens of a template's text; there are few such texts."""
        if text not in self._encoded:
            self._encoded[text] = self._texts.trusted(text)
        return self._encoded[text]

    def _end_of_turn(self, skeleton: Skeleton) -> list[int]:
        """What the agent writes last: up to the first control token behind its action, or all of a plain text."""
        ids = self._fixed(skeleton.closing)
        marks = [k for k, token in enumerate(ids) if token in self._texts.controls]
        return ids[: marks[0] + 1] if marks else ids


def _span(step: _Step, wrote_from: int, end: int, n_end_of_turn: int) -> StepSpan:
    """Spans of a step whose action's text ends at `end`."""
    arguments = end - len(step.arguments)
    tool = arguments - len(step.tool)
    reasoning = (wrote_from if step.reasoning else tool, tool)
    return StepSpan(
        step.number, reasoning, (tool, arguments), (arguments, end), (tool, end + n_end_of_turn), wrote_from
    )

"""The layout of our own markers, for bases that know them and for bases without a usable chat template.

Append-only, so that one sequence holds all steps of a trajectory and each step's prompt is a true prefix:

    <|task|> domain: task  [<|memory|> items]
    then per step  <|see|> state  <|think|> reasoning  <|act|> tool <|args|> arguments <|end|>
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from synde_pipeline.prompting.parts import (
    ACT,
    ARGS,
    AVOID,
    CONTROLS,
    END,
    MEMORY,
    SEE,
    TASK,
    THINK,
    Budget,
    Said,
    StepSpan,
    TextEncoder,
    Turn,
    Window,
    cuts,
    find,
    item_text,
)
from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig


@dataclass
class _Piece:
    ids: list[int]
    span: StepSpan  # relative to the start of `ids`
    n_elided: int


class MarkerLayout:
    """Markers are single tokens where the tokenizer knows them, else plain text."""

    name = "markers"

    def __init__(self, texts: TextEncoder, tokenizer: Any, config: PromptConfig) -> None:
        self._texts = texts
        self._window = config.window
        known = tokenizer.get_vocab()
        self.markers = {name: [known[name]] if name in known else texts.text(f"\n{name}\n") for name in CONTROLS}
        self._avoid = [known[AVOID]] if AVOID in known else None
        self._budget = Budget.of(config, sum(map(len, self.markers.values())))

    def is_prefix_stable(self, turns: Iterable[Turn]) -> bool:
        """Always: every step is appended."""
        return True

    def tool_ids(self, tool: str) -> list[int]:
        """Tokens of a tool's name and the separator after it."""
        return [*self._texts.elide(tool, self._budget.tool)[0], *self.markers[ARGS]]

    def prompt(self, task: str, memory: Sequence[MemoryItem]) -> Window:
        """Task and memory."""
        lines = [self.item(item) for item in memory]
        found = self._texts.header(task, lines, self.markers[MEMORY], self._budget.header)
        ids = [*self.markers[TASK], *found.task, *found.memory]
        return Window(ids, n_context_tokens=len(found.memory), n_elided=found.n_elided)

    def windows(self, task: str, memory: Sequence[MemoryItem], turns: Sequence[Turn]) -> list[Window]:
        """All steps, as few windows as hold them."""
        header = self.prompt(task, memory)
        pieces = [self._piece(turn) for turn in turns]
        windows: list[Window] = []
        for first, start, end in cuts([len(piece.ids) for piece in pieces], self._window - len(header.ids)):
            window = Window(list(header.ids), [], header.n_context_tokens, first, header.n_elided)
            for k in range(first, end):
                if k >= start:
                    window.targets.append(pieces[k].span.moved(len(window.ids)))
                window.ids += pieces[k].ids
                window.n_elided += pieces[k].n_elided
            windows.append(window)
        return windows

    @property
    def stop(self) -> list[int]:
        """Tokens that end what the agent writes."""
        return self.markers[END]

    def read(self, ids: Sequence[int], tools: Collection[str], *, is_whole: bool) -> Said | None:
        """Take apart what a model wrote, as far as it is; None where its tool cannot be told yet, or at all."""
        think, act, args = (self.markers[name] for name in (THINK, ACT, ARGS))
        at = find(ids, act)
        to = None if at is None else find(ids, args, at + len(act))
        if at is None or to is None:
            return None
        before = ids[len(think) :] if list(ids[: len(think)]) == think else ids
        reasoning = self._texts.decode(before[: at - (len(ids) - len(before))])
        tool = self._texts.decode(ids[at + len(act) : to])
        if not tool or any(map(str.isspace, tool)):
            return None
        return Said(reasoning, tool, self._texts.decode(ids[to + len(args) :]))

    def item(self, item: MemoryItem) -> list[int]:
        """One memory item. The embedded base reads what holds at a place in the words of its own actions."""
        if not item.place or self._avoid is None:
            return self._texts.text(item_text(item))
        marker = self.markers[ARGS] if item.kind == "strategy" else self._avoid
        place, title, content = map(self._texts.text, (item.place, item.title, item.content))
        return [*place, *self.markers[ACT], *title, *marker, *content]

    def _piece(self, turn: Turn) -> _Piece:
        elide, budget = self._texts.elide, self._budget
        ids: list[int] = []
        n_elided = 0
        if turn.state:
            seen, n_elided = elide(turn.state, budget.observation)
            ids += [*self.markers[SEE], *seen]
        begins = len(ids)
        reasoning = (begins, begins)
        if turn.reasoning:
            thought, cut = elide(turn.reasoning, budget.action)
            ids += [*self.markers[THINK], *thought]
            reasoning = (len(ids) - len(thought), len(ids))
            n_elided += cut
        ids += self.markers[ACT]
        start = len(ids)
        ids += self.tool_ids(turn.tool)
        tool_end = len(ids)
        arguments, cut = elide(turn.arguments, budget.action)
        ids += [*arguments, *self.markers[END]]
        span = StepSpan(
            turn.index, reasoning, (start, tool_end), (tool_end, tool_end + len(arguments)), (start, len(ids)), begins
        )
        return _Piece(ids, span, n_elided + cut)

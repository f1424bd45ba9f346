"""The one place that turns task, memory, state and history into model input; training, evaluation and serving call it.

Layout, append-only, so that one sequence holds all steps of a trajectory and each step's prompt is a true prefix:

    <|task|> domain: task  [<|memory|> items]
    then per step  <|see|> state  <|think|> reasoning  <|act|> tool <|args|> arguments <|end|>

Logged text is encoded so that it can never become a control token, whatever it spells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig

CONTROLS = ("<|task|>", "<|memory|>", "<|see|>", "<|think|>", "<|act|>", "<|args|>", "<|end|>")
TASK, MEMORY, SEE, THINK, ACT, ARGS, END = CONTROLS
PAD = "<|pad|>"
AVOID = "<|avoid|>"
"""Marker that only the embedded base knows: the options behind it failed."""


class Turn(Protocol):
    """What a step contributes to a prompt; `records.Step` is one."""

    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def reasoning(self) -> str: ...  # noqa: D102
    @property
    def tool(self) -> str: ...  # noqa: D102
    @property
    def arguments(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class StepSpan:
    """Where one step's target lies in a window, as half-open token ranges."""

    index: int
    reasoning: tuple[int, int]
    """Empty range when the log has no reasoning."""
    tool: tuple[int, int]
    """The tool's name and the separator after it."""
    arguments: tuple[int, int]
    """The arguments alone; empty where the tool has none."""
    action: tuple[int, int]
    """Tool name, arguments and end marker: everything the agent decided."""


@dataclass
class Window:
    """One model input: some steps are targets, the ones before them context."""

    ids: list[int]
    targets: list[StepSpan] = field(default_factory=list)
    n_context_tokens: int = 0
    """Tokens of the memory block."""
    n_dropped_steps: int = 0
    """Earlier whole steps that did not fit."""
    n_elided: int = 0
    """Texts whose middle was cut."""


@dataclass
class _Piece:
    ids: list[int]
    span: StepSpan  # relative to the start of `ids`
    n_elided: int


class PromptEncoder:
    """Encodes prompts for one base model's tokenizer.

    Args:
        tokenizer: a fast Hugging Face tokenizer. Markers are single tokens where it knows them, else plain text.
        config: window and the token budgets within it.
    """

    def __init__(self, tokenizer: Any, config: PromptConfig) -> None:
        self._tokenizer = tokenizer
        self.config = config
        known = tokenizer.get_vocab()
        self._markers = {name: [known[name]] if name in known else self.text(f"\n{name}\n") for name in CONTROLS}
        self._avoid = [known[AVOID]] if AVOID in known else None
        # A header and one whole step must fit: 3/8 + 1/6 + 1/6 + 1/6 + 1/12 of what the markers leave.
        room = config.window - sum(map(len, self._markers.values()))
        self._max_header = min(config.max_header, room * 3 // 8)
        self._max_observation = min(config.max_observation, room // 6)
        self._max_action = min(config.max_action, room // 6)
        self._max_tool = room // 12

    def text(self, text: str) -> list[int]:
        """Encode untrusted text; a literal `<|act|>` in it stays text."""
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def tool_ids(self, tool: str) -> list[int]:
        """Tokens of a tool's name and the separator after it, as they stand in every action."""
        return [*self._elide(tool, self._max_tool)[0], *self._markers[ARGS]]

    def marker(self, control: str) -> list[int]:
        """Tokens of a control marker, one where the tokenizer knows it."""
        return self._markers[control]

    def prompt(self, domain: str, task: str, memory: Sequence[MemoryItem]) -> Window:
        """What an agent reads before its first observation."""
        ids, n_memory, n_elided = self._header(domain, task, memory)
        return Window(ids, n_context_tokens=n_memory, n_elided=n_elided)

    def windows(self, domain: str, task: str, memory: Sequence[MemoryItem], turns: Iterable[Turn]) -> list[Window]:
        """Cut a trajectory into windows so that every step is a target once.

        A window that overflows is followed by one that starts with task, memory and the last whole steps that fit in
        half of the room left; the steps before them are dropped, and counted.
        """
        header, n_memory, n_elided = self._header(domain, task, memory)
        room = self.config.window - len(header)
        pieces = [self._piece(turn) for turn in turns]
        windows: list[Window] = []
        start = 0
        while start < len(pieces):
            first = start
            used = len(pieces[start].ids)
            while first > 0 and windows and used + len(pieces[first - 1].ids) <= max(room // 2, used):
                first -= 1
                used += len(pieces[first].ids)
            end = start + 1
            while end < len(pieces) and used + len(pieces[end].ids) <= room:
                used += len(pieces[end].ids)
                end += 1
            window = Window(list(header), n_context_tokens=n_memory, n_dropped_steps=first, n_elided=n_elided)
            for k in range(first, end):
                _append(window, pieces[k], is_target=k >= start)
            windows.append(window)
            start = end
        return windows

    def _header(self, domain: str, task: str, memory: Sequence[MemoryItem]) -> tuple[list[int], int, int]:
        block: list[int] = []
        kept = 0
        for item in memory:  # nearest first: what does not fit any more is the least relevant
            line = self._item(item)
            if len(block) + len(line) > self._max_header * 2 // 3:
                break
            block += line
            kept += 1
        memory_ids = [*self._markers[MEMORY], *block] if block else []
        task_ids, cut = self._elide(f"{domain}: {task}", self._max_header - len(memory_ids))
        return [*self._markers[TASK], *task_ids, *memory_ids], len(memory_ids), cut + len(memory) - kept

    def _item(self, item: MemoryItem) -> list[int]:
        """One memory item. The embedded base reads what holds at a place in the words of its own actions."""
        place = item.place
        if place and self._avoid is not None:
            marker = self._markers[ARGS] if item.kind == "strategy" else self._avoid
            return [
                *self.text(place),
                *self._markers[ACT],
                *self.text(item.title),
                *marker,
                *self.text(item.content),
            ]
        if place:
            return self.text(
                f"\n- {place}, {item.title}: {'use' if item.kind == 'strategy' else 'avoid'} {item.content}"
            )
        return self.text(f"\n- {item.title}. {item.content}")

    def _piece(self, turn: Turn) -> _Piece:
        ids: list[int] = []
        n_elided = 0
        if turn.state:
            seen, n_elided = self._elide(turn.state, self._max_observation)
            ids += [*self._markers[SEE], *seen]
        reasoning = (len(ids), len(ids))
        if turn.reasoning:
            thought, cut = self._elide(turn.reasoning, self._max_action)
            ids += [*self._markers[THINK], *thought]
            reasoning = (len(ids) - len(thought), len(ids))
            n_elided += cut
        ids += self._markers[ACT]
        start = len(ids)
        ids += self.tool_ids(turn.tool)
        tool_end = len(ids)
        arguments, cut = self._elide(turn.arguments, self._max_action)
        ids += [*arguments, *self._markers[END]]
        span = StepSpan(
            turn.index, reasoning, (start, tool_end), (tool_end, tool_end + len(arguments)), (start, len(ids))
        )
        return _Piece(ids, span, n_elided + cut)

    def _elide(self, text: str, limit: int) -> tuple[list[int], int]:
        """Encode text, cutting the middle out when it is longer than `limit` tokens; says whether it cut (0 or 1)."""
        # No tokenizer makes fewer tokens than a character count this far above the limit: spare it megabytes.
        if len(text) > 64 * limit:
            text = text[: 32 * limit] + text[-32 * limit :]
        ids = self.text(text)
        if len(ids) <= limit:
            return ids, 0
        gap = self.text(" ... ")
        head = (limit - len(gap) + 1) // 2
        tail = max(limit - len(gap) - head, 0)
        return [*ids[:head], *gap, *ids[len(ids) - tail :]], 1


def _append(window: Window, piece: _Piece, *, is_target: bool) -> None:
    at = len(window.ids)
    window.ids += piece.ids
    window.n_elided += piece.n_elided
    if is_target:
        span = piece.span
        parts = (span.reasoning, span.tool, span.arguments, span.action)
        window.targets.append(StepSpan(span.index, *((a + at, b + at) for a, b in parts)))

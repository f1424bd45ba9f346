"""What every layout of a prompt shares: control markers, windows and spans, token budgets, and the encoding of text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from synde_pipeline.records import MemoryItem
from synde_pipeline.settings import PromptConfig

CONTROLS = ("<|task|>", "<|memory|>", "<|see|>", "<|think|>", "<|act|>", "<|args|>", "<|end|>")
TASK, MEMORY, SEE, THINK, ACT, ARGS, END = CONTROLS
PAD = "<|pad|>"
AVOID = "<|avoid|>"
"""Marker that only the embedded base knows: the options behind it failed."""
LEARNED = "\n\nLearned from earlier tasks:"
"""Lead of the memory items in a chat's system turn."""


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
    """Empty range when the log has no reasoning. As a chat it holds all that stands between the prompt and the action:
    the template's marks of thinking are the model's to write."""
    tool: tuple[int, int]
    """The tool's name and the separator after it."""
    arguments: tuple[int, int]
    """The arguments alone; empty where the tool has none."""
    action: tuple[int, int]
    """Tool name, arguments and end of turn: everything the agent decided."""
    begins: int
    """Where the agent begins to write: all before it is its prompt."""

    def moved(self, by: int) -> "StepSpan":
        """The same span, so many tokens later."""

        def later(part: tuple[int, int]) -> tuple[int, int]:
            return part[0] + by, part[1] + by

        parts = (later(self.reasoning), later(self.tool), later(self.arguments), later(self.action))
        return StepSpan(self.index, *parts, self.begins + by)


class Said(NamedTuple):
    """What a model wrote, taken apart."""

    reasoning: str
    tool: str
    arguments: str


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
    """TextEncoder whose middle was cut."""


class Budget(NamedTuple):
    """Most tokens of each kind of text: a header and one whole step fit into a window."""

    header: int
    observation: int
    action: int
    tool: int

    @classmethod
    def of(cls, config: PromptConfig, overhead: int) -> "Budget":
        """What the layout's own `overhead` tokens leave of a window: 3/8 + 1/6 + 1/6 + 1/6 + 1/12 of it at most."""
        room = config.window - overhead
        return cls(
            min(config.max_header, room * 3 // 8),
            min(config.max_observation, room // 6),
            min(config.max_action, room // 6),
            room // 12,
        )


class Header(NamedTuple):
    """Memory block and task as tokens."""

    memory: list[int]
    task: list[int]
    n_elided: int
    """Items that did not fit, and the task's cut."""


class TextEncoder:
    """Encodes text with one tokenizer; log text can never become a control token, whatever it spells."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.controls = _control_ids(tokenizer)
        # Some tokenizers put a blank before whatever they are given: encode behind an anchor, and cut that off.
        anchor = self._encode("\n", is_trusted=False)
        adds_blank = self._encode("\na", is_trusted=False) != anchor + self._encode("a", is_trusted=False)
        self._anchor = anchor if adds_blank else []

    def text(self, text: str) -> list[int]:
        """Encode untrusted text; a literal `<|act|>` in it stays text."""
        ids = self._inside(text, is_trusted=False)
        if self.controls.isdisjoint(ids):
            return ids
        # Added tokens that a tokenizer does not call special are matched all the same: cut until none is whole.
        middle = len(text) // 2
        return [*self.text(text[:middle]), *self.text(text[middle:])] if middle else []

    def decode(self, ids: Sequence[int], *, marks: bool = False) -> str:
        """Text of tokens; `marks` keeps control tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=not marks)

    def trusted(self, text: str) -> list[int]:
        """Encode text of a template, control tokens and all."""
        return self._inside(text, is_trusted=True)

    def elide(self, text: str, limit: int) -> tuple[list[int], int]:
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

    def header(self, task: str, lines: Sequence[list[int]], lead: list[int], limit: int) -> Header:
        """Fit memory items (as tokens, nearest first), behind their `lead`, and the task into `limit` tokens."""
        block: list[int] = []
        kept = 0
        for line in lines:  # what does not fit any more is the least relevant
            if len(block) + len(line) > limit * 2 // 3:
                break
            block += line
            kept += 1
        memory = [*lead, *block] if block else []
        ids, cut = self.elide(task, limit - len(memory))
        return Header(memory, ids, cut + len(lines) - kept)

    def _inside(self, text: str, *, is_trusted: bool) -> list[int]:
        n = len(self._anchor)
        if n:
            ids = self._encode(f"\n{text}", is_trusted=is_trusted)
            if ids[:n] == self._anchor:
                return ids[n:]
        return self._encode(text, is_trusted=is_trusted)

    def _encode(self, text: str, *, is_trusted: bool) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=not is_trusted)["input_ids"]


def _control_ids(tokenizer: Any) -> set[int]:
    """Special tokens, and added ones that are neither words nor blanks (`</think>`, `<tool_call>`)."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marks = {id for id, token in added.items() if token.content.strip() and not token.content.strip().isalnum()}
    known = {*tokenizer.all_special_ids, *marks}
    named = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    return known - ({tokenizer.unk_token_id} - named)  # what no piece covers is no control token


def item_text(item: MemoryItem) -> str:
    """One memory item in words, on a line of its own."""
    if item.place:
        return f"\n- {item.place}, {item.title}: {'use' if item.kind == 'strategy' else 'avoid'} {item.content}"
    return f"\n- {item.title}. {item.content}"


def find(ids: Sequence[int], wanted: Sequence[int], start: int = 0) -> int | None:
    """Where a run of tokens begins in others, None where it does not."""
    n = len(wanted)
    return next((at for at in range(start, len(ids) - n + 1) if list(ids[at : at + n]) == list(wanted)), None)


def cuts(sizes: Sequence[int], room: int) -> Iterator[tuple[int, int, int]]:
    """Cut steps of these sizes into windows: (first step shown, first target, end); every step is a target once.

    A window that overflows is followed by one that starts with the last whole steps that fit in half of the room.
    """
    start = 0
    while start < len(sizes):
        first, used = start, sizes[start]
        while first > 0 and start > 0 and used + sizes[first - 1] <= max(room // 2, used):
            first -= 1
            used += sizes[first]
        end = start + 1
        while end < len(sizes) and used + sizes[end] <= room:
            used += sizes[end]
            end += 1
        yield first, start, end
        start = end

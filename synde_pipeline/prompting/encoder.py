"""The choice of a layout for one base model's tokenizer, behind the one interface that everybody calls."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from synde_pipeline.errors import ChatTemplateError
from synde_pipeline.prompting.chat import ChatLayout
from synde_pipeline.prompting.markers import MarkerLayout
from synde_pipeline.prompting.parts import CONTROLS, Said, TextEncoder, Turn, Window
from synde_pipeline.records import MemoryItem, Step
from synde_pipeline.settings import PromptConfig


class PromptEncoder:
    """Encodes prompts for one base model's tokenizer.

    A base that knows our markers, or has no chat template, gets the marker layout; any other one its own chat template,
    and the marker layout where that cannot be used.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        config: window and the token budgets within it.
    """

    def __init__(self, tokenizer: Any, config: PromptConfig) -> None:
        self.config = config
        self._texts = TextEncoder(tokenizer)
        self._markers = MarkerLayout(self._texts, tokenizer, config)
        self._layout: MarkerLayout | ChatLayout = self._markers
        self.reason = "the base knows the markers"
        """Why the layout is the one it is."""
        if not set(CONTROLS) <= tokenizer.get_vocab().keys():
            if not getattr(tokenizer, "chat_template", None):
                self.reason = "the base has no chat template"
                return
            try:
                self._layout = ChatLayout(self._texts, tokenizer, config)
                self.reason = "the base has a chat template"
            except ChatTemplateError as error:
                self.reason = str(error)

    @property
    def layout(self) -> str:
        """`markers` or `chat`."""
        return self._layout.name

    def text(self, text: str) -> list[int]:
        """Encode untrusted text; a literal `<|act|>` in it stays text."""
        return self._texts.text(text)

    def tool_ids(self, tool: str) -> list[int]:
        """Tokens of a tool's name and the separator after it, as they stand in every action."""
        return self._layout.tool_ids(tool)

    def marker(self, control: str) -> list[int]:
        """Tokens of a control marker of the marker layout, one where the tokenizer knows it."""
        return self._markers.markers[control]

    def item(self, item: MemoryItem) -> list[int]:
        """Tokens of one memory item in the marker layout."""
        return self._markers.item(item)

    def is_prefix_stable(self, turns: Iterable[Turn]) -> bool:
        """Whether one sequence can hold all these steps: each step's prompt and answer is a prefix of what follows."""
        return self._layout.is_prefix_stable(turns)

    def prompt(self, domain: str, task: str, memory: Sequence[MemoryItem]) -> Window:
        """What an agent reads that has seen nothing but its task; a prefix of every run that began so."""
        return self._layout.prompt(f"{domain}: {task}", memory)

    def before_action(
        self, domain: str, task: str, memory: Sequence[MemoryItem], turns: Sequence[Turn], state: str
    ) -> Window:
        """What an agent reads before its next action, as training lays it out, with room for the action.

        Args:
            domain: of the task.
            task: as the agent sees it.
            memory: items that it is shown, nearest first.
            turns: its steps so far.
            state: what it has seen since the last of them.
        """
        long = "x " * 2 * self.config.max_action
        nothing_yet = Step(index=len(turns), state=state, tool="x", arguments=long)
        window = self.windows(domain, task, memory, [*turns, nothing_yet])[-1]
        window.ids = window.ids[: window.targets[-1].begins]
        window.targets = []
        return window

    @property
    def stop(self) -> list[int]:
        """Tokens that end what an agent writes."""
        return self._layout.stop

    def read(self, ids: Sequence[int], tools: Collection[str] = (), *, is_whole: bool = True) -> Said | None:
        """Take apart what a model wrote, `stop` cut off; None where it names no tool, or, of a part, none yet.

        Args:
            ids: what it wrote.
            tools: names that it may call; the layout of markers needs none.
            is_whole: whether it has ended.
        """
        return self._layout.read(ids, tools, is_whole=is_whole)

    def written(self, text: str) -> list[int]:
        """Tokens of a text that a model wrote, its control tokens too."""
        return self._texts.trusted(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, without control tokens."""
        return self._texts.decode(ids)

    def windows(self, domain: str, task: str, memory: Sequence[MemoryItem], turns: Iterable[Turn]) -> list[Window]:
        """Cut a trajectory into windows so that every step is a target once.

        Windows hold as many steps as fit: one that overflows is followed by one that starts with task, memory and the
        last whole steps that fit in half of the room left; the steps before them are dropped, and counted. Where a
        chat template does not keep earlier steps as they were (`is_prefix_stable`), each step has a window of its own.
        """
        return self._layout.windows(f"{domain}: {task}", memory, list(turns))

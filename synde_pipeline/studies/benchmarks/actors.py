"""What acts in an environment: a local model, by our prompt layouts, or an OpenAI-compatible endpoint.

Both see the same: task, memory items, tools, what happened so far. What an environment is, is in `environments`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from synde_pipeline.base_model import Base
from synde_pipeline.errors import InvalidAnswerError
from synde_pipeline.llm import Llm, Message, Request
from synde_pipeline.prompting import ACT, ARGS, END, LEARNED, THINK, PromptEncoder
from synde_pipeline.prompting.parts import item_text
from synde_pipeline.records import INVALID, MemoryItem
from synde_pipeline.settings import PromptConfig
from synde_pipeline.studies.benchmarks.environments import EnvironmentTask

_LONGEST_WINDOW = 4096
_MOST_NEW = 512
"""Tokens of one action."""

At = Callable[[EnvironmentTask], AbstractContextManager[Any]]
"""Model calls inside `with at(task)` use the adapter of the task, where there is one."""


@dataclass(frozen=True)
class Turn:
    """One step that was taken."""

    index: int
    state: str
    reasoning: str
    tool: str
    arguments: str
    result: str = ""
    success: bool | None = None


@dataclass(frozen=True)
class View:
    """What an actor may know when it acts."""

    domain: str
    task: EnvironmentTask
    tools: Mapping[str, str]
    memory: Sequence[MemoryItem]
    turns: Sequence[Turn]
    """Earlier steps."""
    state: str
    """What it sees now."""


class Action(NamedTuple):
    """What an actor does next."""

    reasoning: str
    tool: str
    arguments: str
    tokens_in: int = 0
    """Tokens that were read for it."""
    tokens_out: int = 0
    n_elided: int = 0
    """Texts whose middle was cut, and memory items that did not fit."""


class Actor(Protocol):
    """Decides."""

    @property
    def name(self) -> str: ...  # noqa: D102
    def act(self, view: View) -> Action: ...  # noqa: D102


class _Said(BaseModel):
    """The shape that an endpoint answers in."""

    model_config = ConfigDict(extra="forbid")

    reasoning: str
    tool: str = Field(pattern=r"^\S{1,200}$")
    arguments: str


class LlmActor:
    """Acts by an OpenAI-compatible endpoint; answers are kept, so the same run costs nothing the second time.

    Args:
        llm: client with its budget.
        name: of the model, for the logs.
    """

    def __init__(self, llm: Llm, name: str) -> None:
        self._llm, self.name = llm, name

    def act(self, view: View) -> Action:
        """Ask for the next action; what is no valid answer, repaired or not, is the tool `invalid`.

        Raises:
            LlmError: the endpoint did not answer, the budget is used up, or the answer is missing offline.
        """
        request = Request(tuple(_messages(view)), _Said, _sources(view))
        try:
            said = self._llm.ask(request)
        except InvalidAnswerError:
            return Action("", INVALID, "")
        taken = self._llm.answer_of(request)
        tokens = (taken.tokens_in, taken.tokens_out) if taken else (0, 0)
        return Action(said.reasoning, said.tool, said.arguments, *tokens)


def _messages(view: View) -> list[Message]:
    learned = "".join(map(item_text, view.memory))
    system = "Work on the task with the tools that you are told of: one action at a time."
    messages = [Message("system", f"{system}{LEARNED}{learned}" if learned else system)]
    lead = f"{view.domain}: {view.task.text}\n\n"
    for turn in view.turns:
        said = _Said(reasoning=turn.reasoning, tool=turn.tool, arguments=turn.arguments)
        messages += [Message("user", lead + turn.state), Message("assistant", said.model_dump_json())]
        lead = ""
    return [*messages, Message("user", lead + view.state)]


def _sources(view: View) -> tuple[str, ...]:
    """Whose text is in the prompt: with one of them removed, the answer goes."""
    learned_from = {support.trace_uid for item in view.memory for support in item.supports}
    return (f"benchmark:{view.task.task_id}", *sorted(learned_from))


def prompt_config(base: Base) -> tuple[PromptConfig, int]:
    """Budgets that cut as little as the model allows, and the most tokens that it may write in one action."""
    config = base.model.config
    longest = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    whole = min(longest or _LONGEST_WINDOW, _LONGEST_WINDOW)
    new = min(_MOST_NEW, whole // 4)
    room = max(whole - new, 256)
    return PromptConfig(window=room, max_observation=room, max_action=room, max_header=room), new


class LocalActor:
    """Acts by a local causal LM, greedily.

    Args:
        base: model and tokenizer.
        at: what routes a task to its adapter; None is the model as it is.
        name: for the logs.
    """

    def __init__(self, base: Base, at: At = lambda _: nullcontext(), name: str = "local") -> None:
        self._base, self._at, self.name = base, at, name
        config, self._most_new = prompt_config(base)
        self._encoder = PromptEncoder(base.tokenizer, config)
        self._room = config.window
        ends = {base.tokenizer.eos_token_id, *_as_list(base.model.generation_config.eos_token_id)}
        end = self._encoder.marker(END)
        self._ends = sorted((ends | {*end} if len(end) == 1 else ends) - {None})

    def act(self, view: View) -> Action:
        """Write the next action and read it back."""
        goes_on = view.task.prefix and self._encoder.reason == "the base has no chat template"
        ids, n_elided = self._continued(view) if goes_on else self._prompt(view)
        said = self._write(ids, view.task)
        text = self._base.tokenizer.decode(said, skip_special_tokens=self._encoder.layout == "chat")
        if goes_on:
            reasoning, tool, arguments = "", next(iter(view.tools)), text
        elif self._encoder.layout == "chat":
            reasoning, tool, arguments = chat_action(text, view.tools)
        else:
            reasoning, tool, arguments = marker_action(text)
        return Action(reasoning, tool, arguments, len(ids), len(said), n_elided)

    def _prompt(self, view: View) -> tuple[list[int], int]:
        """What stands before the step that is to be written: the layout of a run whose last step is a stand-in."""
        stand_in = Turn(len(view.turns), view.state, "x", "x", "")
        turns = [*view.turns, stand_in]
        window = self._encoder.windows(view.domain, view.task.text, view.memory, turns)[-1]
        n_mark = len(self._encoder.marker(THINK)) if self._encoder.layout == "markers" else 0
        return window.ids[: window.targets[-1].reasoning[0] - n_mark], window.n_elided

    def _continued(self, view: View) -> tuple[list[int], int]:
        """Memory as a comment, then the text to go on from; what does not fit is cut at its beginning."""
        learned = "".join(map(item_text, view.memory)).strip()
        comment = "".join(f"# {line}\n" for line in learned.splitlines())
        ids = self._encoder.text(f"{comment}{view.task.prefix}")
        return ids[-self._room :], int(len(ids) > self._room)

    def _write(self, ids: list[int], task: EnvironmentTask) -> list[int]:
        import torch

        given = torch.tensor([ids], device=self._base.model.device)
        with torch.inference_mode(), self._at(task):
            found = self._base.model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=self._most_new,
                do_sample=False,
                eos_token_id=self._ends or None,
                pad_token_id=self._ends[0] if self._ends else 0,
            )
        return found[0, len(ids) :].tolist()


def marker_action(text: str) -> tuple[str, str, str]:
    """Thought, tool and arguments of a turn in our markers; a turn that names no tool is the tool `invalid`."""
    said = text.partition(END)[0]
    before, act, rest = said.partition(ACT)
    tool, args, arguments = rest.partition(ARGS)
    tool = tool.strip()
    if not act or not args or not tool or any(map(str.isspace, tool)):
        return "", INVALID, said
    return before.partition(THINK)[2].strip(), tool, arguments.strip("\n")


def chat_action(text: str, tools: Mapping[str, str]) -> tuple[str, str, str]:
    """Thought, tool and arguments of a chat's answer: the first line that is a tool's name parts them.

    Who names no tool where there is only one has used that one.
    """
    lines = text.strip().split("\n")
    for k, line in enumerate(lines):
        if line.strip().strip("`*:") in tools:
            return "\n".join(lines[:k]).strip(), line.strip().strip("`*:"), "\n".join(lines[k + 1 :])
    if len(tools) == 1:
        thought, mark, rest = text.rpartition("</think>")
        return (thought + mark).strip(), next(iter(tools)), rest
    return "", INVALID, text


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]

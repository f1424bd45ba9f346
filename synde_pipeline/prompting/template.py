"""A tokenizer's chat template taken apart: the fixed text that it puts around the contents of turns.

The template never sees a logged text. It is rendered with sentinels in their place, and the result is split there: so
what it writes depends on the number of steps and on which of them carry reasoning, and on nothing else. A template that
alters, repeats or moves a content is found out, because the sentinels do not come back as they went in.

A conversation is `[system] user assistant user assistant ...`, one pair a step: the roles that every template has, in
the order that the strictest demand. What the agent sees is a user turn, whether a person or a tool wrote it: `tool`
turns need ids and calls that logs do not have, and several families refuse them.
"""

import re
from contextlib import suppress
from functools import lru_cache
from itertools import product
from typing import Any, Literal, NamedTuple

from synde_pipeline.errors import ChatTemplateError

Flags = tuple[bool, ...]
"""For each step, whether it carries reasoning."""

_SENTINEL = "Zq\"\\ <&>\n é{}_ 'kX"
"""Changed by whatever trims within, escapes, folds case or joins lines; outer blanks are the caller's to strip."""
_FOUND = re.compile(re.escape(_SENTINEL).replace(r"\{\}", r"(\d+)"))
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format | replace('%Y', '2025') | replace('%m', '01') | replace('%d', '01') "
    "| replace('%b', 'Jan') | replace('%B', 'January') | replace('%H', '00') | replace('%M', '00') "
    "| replace('%S', '00') }}{%- endmacro %}\n"
)
"""Templates that print the date print this one: the same logs give the same tokens on every day."""


class Slot(NamedTuple):
    """A content's place in a conversation."""

    kind: Literal["system", "user", "reasoning", "action"]
    step: int


class Skeleton(NamedTuple):
    """A conversation without its contents; the last turn is the agent's."""

    parts: tuple[tuple[str, Slot], ...]
    """Each content with the fixed text before it."""
    opening: str
    """Fixed text from the last user turn's content to where the agent begins to write."""
    closing: str
    """Fixed text behind the last action."""


class ChatTemplate:
    """How one tokenizer's chat template renders conversations.

    Args:
        tokenizer: with a chat template.

    Raises:
        ChatTemplateError: contents do not come back as they went in, or the template refuses conversations of up to
            three steps, with a system turn and without, with reasoning apart and within the content.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.skeleton = lru_cache(maxsize=256)(self._skeleton)
        self.is_prefix_stable = lru_cache(maxsize=1024)(self._is_prefix_stable)
        try:
            self._source = _CLOCK + tokenizer.get_chat_template()
        except ValueError as error:
            raise ChatTemplateError("the tokenizer names several chat templates and none is the default") from error
        self.has_system, self.has_thinking = self._usable()

    def _usable(self) -> tuple[bool, bool]:
        """Whether system turns, and reasoning apart, can be used: the first of the four ways that works."""
        for self.has_system, self.has_thinking in ((True, True), (True, False), (False, True)):
            with suppress(ChatTemplateError):
                self._probe()
                return self.has_system, self.has_thinking
        self.has_system, self.has_thinking = False, False
        self._probe()
        return False, False

    def _probe(self) -> None:
        self.skeleton.cache_clear()
        for n_steps in (1, 2, 3):
            for flags in product((False, True) if self.has_thinking else (False,), repeat=n_steps):
                self.skeleton(flags)

    def _skeleton(self, flags: Flags) -> Skeleton:
        """Take a conversation of these steps apart.

        Raises:
            ChatTemplateError: the template refuses it, or does not keep its contents as they are.
        """
        whole = self._render(flags, is_prompt=False)
        prompt = self._render(flags, is_prompt=True)
        if not whole.startswith(prompt):
            raise ChatTemplateError("the prompt of a turn is no prefix of the turn")
        found = [(match, _slot(int(match[1]))) for match in _FOUND.finditer(whole)]
        slots = [slot for _, slot in found]
        expected = self._slots(flags)
        dropped = {slot for slot in expected if slot.kind == "reasoning" and slot.step < len(flags) - 1} - {*slots}
        if slots != [slot for slot in expected if slot not in dropped]:
            raise ChatTemplateError("the template alters, moves or leaves out what the turns say")
        starts = [0, *(match.end() for match, _ in found)]
        parts = tuple((whole[start : match.start()], slot) for start, (match, slot) in zip(starts, found, strict=False))
        last = next(match for match, slot in found if slot == Slot("user", len(flags) - 1))
        return Skeleton(parts, prompt[last.end() :], whole[starts[-1] :])

    def _is_prefix_stable(self, flags: Flags) -> bool:
        """Whether a conversation holds every earlier prompt and answer as they were: then one sequence has all steps.

        Compared at the steps 1, 2, 4, 8, ... and the last but one, so that the cost stays linear in the steps.
        """
        try:
            whole = self.skeleton(flags)
            if [slot for _, slot in whole.parts] != self._slots(flags) or not _is_regular(whole):
                return False
            n = len(flags)
            earlier = {min(2**k, n - 1) for k in range(n.bit_length())} - {0}
            for found in map(self.skeleton, (flags[:k] for k in sorted(earlier))):
                if found != Skeleton(whole.parts[: len(found.parts)], whole.opening, whole.closing):
                    return False
        except ChatTemplateError:
            return False
        return True

    def _slots(self, flags: Flags) -> list[Slot]:
        slots = [Slot("system", 0)] if self.has_system else []
        for k, has_reasoning in enumerate(flags):
            slots += [Slot("user", k), *[Slot("reasoning", k)] * has_reasoning, Slot("action", k)]
        return slots

    def _render(self, flags: Flags, *, is_prompt: bool) -> str:
        from jinja2 import TemplateError

        messages: list[dict[str, str]] = []
        for slot in self._slots(flags):
            content = _sentinel(slot)
            if slot.kind == "action" and messages[-1]["role"] == "assistant":
                messages[-1]["content"] = content
            elif slot.kind == "reasoning":
                messages.append({"role": "assistant", "content": "", "reasoning_content": content})
            else:
                messages.append({"role": "assistant" if slot.kind == "action" else slot.kind, "content": content})
        try:
            return self._tokenizer.apply_chat_template(
                messages[:-1] if is_prompt else messages,
                chat_template=self._source,
                tokenize=False,
                add_generation_prompt=is_prompt,
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise ChatTemplateError(f"the template refuses a conversation: {error}") from error


def _is_regular(whole: Skeleton) -> bool:
    """Whether every step is opened and closed as the last one is."""
    before = ""
    for text, slot in whole.parts:
        if slot.kind == "user" and before == "action" and not text.startswith(whole.closing):
            return False
        if slot.kind in ("reasoning", "action") and before == "user" and not text.startswith(whole.opening):
            return False
        before = slot.kind
    return True


def _sentinel(slot: Slot) -> str:
    kinds = ("user", "reasoning", "action")
    return _SENTINEL.format(0 if slot.kind == "system" else 1 + 3 * slot.step + kinds.index(slot.kind))


def _slot(number: int) -> Slot:
    kinds: tuple[Literal["user", "reasoning", "action"], ...] = ("user", "reasoning", "action")
    return Slot("system", 0) if number == 0 else Slot(kinds[(number - 1) % 3], (number - 1) // 3)

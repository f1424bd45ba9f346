"""`Llm`: ask for structured answers, from the cache where they are there, else within a budget."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from synde_pipeline.errors import InvalidAnswerError, LlmError, MissingAnswerError
from synde_pipeline.llm.budget import NOTHING, Budget, Price, Usage, spend_of
from synde_pipeline.llm.cache import Answer, read_answer, write_answer
from synde_pipeline.llm.endpoint import Endpoint, Failure, Reply
from synde_pipeline.llm.requests import Message, Request, key_of
from synde_pipeline.llm.trying import insist
from synde_pipeline.settings import LlmConfig
from synde_pipeline.storage import Warehouse

T = TypeVar("T", bound=BaseModel)
A = TypeVar("A")
B = TypeVar("B")

_CHARS_PER_TOKEN = 8
"""Of a first answer that a repair shows: a server may ignore the limit of tokens."""
_MOST_PROBLEMS = 8
"""Problems of an answer that a repair is told of."""


class Llm:
    """One run's access to a language model: its budget is the run's.

    Args:
        warehouse: where the answers are kept.
        config: endpoint, parameters and limits.

    Raises:
        InputError: money is limited and no price is known.
    """

    def __init__(self, warehouse: Warehouse, config: LlmConfig) -> None:
        self._warehouse, self._config = warehouse, config
        self._endpoint = Endpoint(config)
        self.budget = Budget(config)
        """The run's: whatever else asks for money in it shares this one."""
        self._stopped = threading.Event()

    @property
    def config(self) -> LlmConfig:
        """Endpoint, parameters and limits."""
        return self._config

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return self.budget.usage

    def check(self) -> None:
        """Refuse settings by which nobody can be asked, before anything is begun.

        Raises:
            InputError: no endpoint is configured.
        """
        self._endpoint.check()

    def cached(self, request: Request[T]) -> T | None:
        """The answer, where it is there already."""
        found = read_answer(self._warehouse, key_of(request, self._config))
        if found is None:
            return None
        try:
            return request.answer.model_validate_json(found.text)
        except ValidationError:  # what counts as valid was narrowed since
            return None

    def price(self, request: Request[Any]) -> Price:
        """What an answer costs at most: nothing where it is there already."""
        return Price() if self.cached(request) is not None else self.at_most(request)

    def at_most(self, request: Request[Any], more_in: int = 0) -> Price:
        """What one call costs at most, with a prompt that is so many tokens longer."""
        most = spend_of(request.most_tokens + more_in, self._config.max_output_tokens, self._config)
        return Price(1, most.tokens, most.cost)

    def ask(self, request: Request[T]) -> T:
        """The answer: from the cache, or from the model, which may repair an invalid one once.

        Raises:
            MissingAnswerError: it is not there, and nothing may be asked.
            LlmBudgetError: the next call could exceed the budget.
            InvalidAnswerError: the model did not answer validly, not after a repair either.
            LlmError: the endpoint did not answer.
            InputError: no endpoint is configured.
        """
        found = self.cached(request)
        if found is not None:
            self.budget.note_cached()
            return found
        if self._config.is_offline:
            raise MissingAnswerError(
                f"{self._config.model or 'the language model'} was not asked yet about {_about(request)}",
                expected="its answer in llm_cache, because new calls are switched off",
                remedy="run again without --no-llm and SYNDE_NO_LLM",
            )
        first = self._call(request)
        answer = _validated(request, first)
        if not isinstance(answer, list):
            self._keep(request, [first])
            return answer
        shown = first.content[: _CHARS_PER_TOKEN * self._config.max_output_tokens]
        last = self._call(request.then(Message("assistant", shown), _repair(answer)))
        answer = _validated(request, last)
        if not isinstance(answer, list):
            self._keep(request, [first, last])
            return answer
        raise InvalidAnswerError(
            f"{self._config.model} gave no valid answer about {_about(request)}, not when it was shown its mistake "
            f"either: {', '.join(sorted({problem.kind for problem in answer}))}",
            expected=f"the schema of {request.answer.__name__}",
            remedy="run again, or choose another model (SYNDE_LLM_MODEL) or SYNDE_REFLECTOR=rules",
        )

    def answer_of(self, request: Request[Any]) -> Answer | None:
        """The answer as it is kept, with what it took."""
        return read_answer(self._warehouse, key_of(request, self._config))

    def each(self, work: Callable[[A], B], items: Sequence[A]) -> list[B]:
        """Do work that asks, for several items at once; results in the items' order.

        The first error ends it: what was not begun is left, what is in flight is waited for, and its answers stay.
        """

        def unless_stopped(item: A) -> B:
            if self._stopped.is_set():
                raise _NotBegunError
            try:
                return work(item)
            except BaseException:
                self._stopped.set()
                raise

        with ThreadPoolExecutor(self._config.concurrency) as pool:
            futures = [pool.submit(unless_stopped, item) for item in items]
            try:
                wait(futures)
            except BaseException:  # Ctrl-C
                self._stopped.set()
                raise
        self._stopped.clear()
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, _NotBegunError):
                raise error
        return [future.result() for future in futures]

    def _call(self, request: Request[Any]) -> Reply:
        reply, n = insist(lambda: self._attempt(request), self._config, self._stopped.wait)
        if isinstance(reply, Reply):
            return reply
        raise LlmError(
            f"{self._config.model} did not answer about {_about(request)}: {reply.reason}, at try {n}",
            expected="a chat completion from SYNDE_LLM_URL",
            remedy="run again to go on: answers that came are kept and cost nothing",
        )

    def _attempt(self, request: Request[Any]) -> Reply | Failure:
        """One try within the budget."""
        most = spend_of(request.most_tokens, self._config.max_output_tokens, self._config)
        self.budget.reserve(most)
        used = most  # what cannot be known is counted as the most that it can be
        try:
            reply = self._endpoint.attempt(request.messages, request.format)
            if isinstance(reply, Reply):
                used = spend_of(*reply.used, self._config) if reply.used else most
            elif not reply.may_be_billed:
                used = NOTHING
        finally:
            self.budget.settle(most, used)
        return reply

    def _keep(self, request: Request[Any], replies: list[Reply]) -> None:
        used = [reply.used or (0, 0) for reply in replies]
        answer = Answer(
            text=replies[-1].content,
            model=self._config.model,
            sources=request.sources,
            calls=len(replies),
            tokens_in=sum(tokens for tokens, _ in used),
            tokens_out=sum(tokens for _, tokens in used),
        )
        write_answer(self._warehouse, key_of(request, self._config), answer)


def _about(request: Request[Any]) -> str:
    """Whose text it was; never a text."""
    names = ", ".join(request.sources[:3])
    return names + (f" and {len(request.sources) - 3} more" if len(request.sources) > 3 else "")


class _NotBegunError(Exception):
    """Other work failed before this was begun."""


class _Problem(NamedTuple):
    """What is wrong with an answer."""

    kind: str
    text: str
    """Said to the model only: it may quote what it wrote."""


def _validated(request: Request[T], reply: Reply) -> T | list[_Problem]:
    """The answer, or what is wrong with it."""
    try:
        return request.answer.model_validate_json(reply.content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [
            _Problem(one["type"], f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}") for one in found
        ]
        cut = [_Problem("cut_off", "it was cut off at the limit of tokens")] if reply.is_cut else []
        return [*cut, *problems][:_MOST_PROBLEMS]


def _repair(problems: list[_Problem]) -> Message:
    listed = "\n".join(f"- {problem.text}" for problem in problems)
    return Message(
        "user",
        f"That answer cannot be used:\n{listed}\nAnswer again with one JSON object that follows the schema. Keep what "
        "was right, and be shorter if it was cut off.",
    )

"""Embeddings of an OpenAI-compatible endpoint, under the rules of every other call: budget, tries, `SYNDE_NO_LLM`.

Nothing of what the server says reaches an error but its status. Vectors that came are kept by who asked for them.
"""

import os
import time
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.errors import EmbedderError, InputError, MissingAnswerError
from synde_pipeline.llm.budget import NOTHING, Budget, Spend, embedding_spend
from synde_pipeline.llm.endpoint import Failure, refused
from synde_pipeline.llm.trying import insist
from synde_pipeline.memory.embed import unit
from synde_pipeline.settings import LlmConfig

BATCH = 64
"""Texts of one request."""
_PER_TEXT = 4
"""Tokens that a server may add around one text."""


class RemoteEmbedder:
    """`POST <base url>/embeddings`; rate limits, server errors and time-outs are tried again.

    Args:
        model: name of the model at the endpoint.
        endpoint: where it is, how long and how often to try, whether new calls are allowed; the key is in the
            environment.
        budget: of the run that asks; None opens one for as long as this object lives.

    Raises:
        InputError: no endpoint is configured, or money is limited and no price is known.
    """

    def __init__(self, model: str, endpoint: LlmConfig, budget: Budget | None = None) -> None:
        if endpoint.base_url is None:
            raise InputError(f"no endpoint for openai:{model}", expected="SYNDE_LLM_URL", remedy="set it")
        self.name = f"openai:{model}"
        self._model, self._endpoint = model, endpoint
        self._budget = budget or Budget(endpoint)
        self._dim: int | None = None

    @property
    def dim(self) -> int:
        """Length of a vector; asks for one where none has been seen."""
        if self._dim is None:
            self.embed(["length"])
        assert self._dim is not None  # noqa: S101 - `embed` has set it
        return self._dim

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts, one row each, in batches.

        Raises:
            EmbedderError: the endpoint did not answer, or not with one vector of one length for each text.
            LlmBudgetError: the next request could exceed the budget.
            MissingAnswerError: new calls are switched off.
        """
        if not texts:
            return np.zeros((0, self._dim or 0), np.float32)
        found = [self._ask(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        lengths = {vectors.shape[1] for vectors in found} | ({self._dim} if self._dim else set())
        if len(lengths) > 1:
            raise EmbedderError(
                f"{self.name} answered with vectors of {sorted(lengths)} numbers", expected="one length"
            )
        self._dim = lengths.pop()
        return unit(np.concatenate(found))

    @cached_property
    def _client(self) -> Any:
        from openai import OpenAI

        key = os.environ.get(self._endpoint.key_variable) or "none"
        return OpenAI(api_key=key, base_url=self._endpoint.base_url, max_retries=0, timeout=self._endpoint.timeout_s)

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        if self._endpoint.is_offline:
            raise MissingAnswerError(
                f"{self.name} was not asked yet for the vectors of {len(texts)} texts",
                expected="vectors that are kept, because new calls are switched off",
                remedy="run again without --no-llm and SYNDE_NO_LLM; or set SYNDE_EMBEDDER=minilm",
            )
        # An empty text is refused by servers; a blank is as near to nothing.
        inputs = [text or " " for text in texts]
        found, _ = insist(lambda: self._attempt(inputs), self._endpoint, _wait)
        if isinstance(found, Failure):
            raise self._failure(found.reason)
        return found

    def _attempt(self, inputs: list[str]) -> NDArray[np.float32] | Failure:
        """One try within the budget: no tokenizer makes more tokens than there are bytes."""
        n_most = sum(len(text.encode("utf-8")) + _PER_TEXT for text in inputs)
        most = used = embedding_spend(n_most, self._endpoint)
        self._budget.reserve(most)
        try:
            found, used = self._request(inputs, most)
        finally:
            self._budget.settle(most, used)
        return found

    def _request(self, inputs: list[str], most: Spend) -> tuple[NDArray[np.float32] | Failure, Spend]:
        """What came back, and what it took: the most that it can be, where that is not known."""
        import openai

        try:
            answer = self._client.embeddings.create(model=self._model, input=inputs, encoding_format="float")
            rows = {row.index: row.embedding for row in answer.data}
            vectors = np.array([rows[k] for k in range(len(inputs))], np.float32)
        except openai.APIStatusError as error:
            return refused(error, self._client.api_key), NOTHING
        except openai.APIConnectionError:
            return Failure("the endpoint could not be reached in time", may_pass=True), most
        except (openai.OpenAIError, KeyError, TypeError, ValueError, AttributeError):
            return Failure("the endpoint answered with something else", may_pass=False), most
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
            return Failure("the endpoint answered with vectors that are none", may_pass=False), most
        n_used = getattr(answer.usage, "prompt_tokens", None)
        return vectors, embedding_spend(n_used, self._endpoint) if isinstance(n_used, int) else most

    def _failure(self, what: str) -> EmbedderError:
        return EmbedderError(
            f"{self.name}: {what}",
            expected="a list of embeddings, one for each text",
            remedy="check SYNDE_LLM_URL and the model's name, then run again; or set SYNDE_EMBEDDER=minilm",
        )


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False

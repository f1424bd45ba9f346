"""Embeddings of an OpenAI-compatible endpoint. Nothing of what the server says reaches an error but its status."""

import os
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synde_pipeline.errors import EmbedderError, InputError
from synde_pipeline.memory.embed import unit
from synde_pipeline.settings import LlmConfig

_BATCH = 64


class RemoteEmbedder:
    """`POST <base url>/embeddings`; rate limits, server errors and time-outs are tried again by the client.

    Args:
        model: name of the model at the endpoint.
        endpoint: where it is, how long and how often to try; the key is in the environment.

    Raises:
        InputError: no endpoint is configured.
    """

    def __init__(self, model: str, endpoint: LlmConfig) -> None:
        if endpoint.base_url is None:
            raise InputError(f"no endpoint for openai:{model}", expected="SYNDE_LLM_URL", remedy="set it")
        self.name = f"openai:{model}"
        self._model, self._endpoint = model, endpoint
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
        """
        if not texts:
            return np.zeros((0, self._dim or 0), np.float32)
        found = [self._ask(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
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
        tries = self._endpoint.attempts - 1
        return OpenAI(
            api_key=key, base_url=self._endpoint.base_url, max_retries=tries, timeout=self._endpoint.timeout_s
        )

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        import openai

        # An empty text is refused by servers; a blank is as near to nothing.
        inputs = [text or " " for text in texts]
        try:
            answer = self._client.embeddings.create(model=self._model, input=inputs, encoding_format="float")
            rows = {row.index: row.embedding for row in answer.data}
            vectors = np.array([rows[k] for k in range(len(texts))], np.float32)
        except openai.APIStatusError as error:
            raise self._failure(f"answered {error.status_code}") from error
        except openai.APIConnectionError as error:
            raise self._failure("could not be reached in time") from error
        except (openai.OpenAIError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._failure("answered with something else") from error
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
            raise self._failure("answered with vectors that are none")
        return vectors

    def _failure(self, what: str) -> EmbedderError:
        return EmbedderError(
            f"the endpoint of {self.name} {what}",
            expected="a list of embeddings, one for each text",
            remedy="check SYNDE_LLM_URL and the model's name, then run again; or set SYNDE_EMBEDDER=minilm",
        )

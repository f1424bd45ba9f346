"""One try of one request over HTTP. Nothing of what a server says reaches an error but short codes.

A server may echo the key or a prompt; errors end up in Dagster's history, which no removal rewrites.
"""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from synde_pipeline.errors import InputError
from synde_pipeline.llm.requests import Message
from synde_pipeline.settings import LlmConfig

_CODE = re.compile(r"[a-z]{2,16}(_[a-z]{2,16}){0,5}")
"""Looks like `context_length_exceeded`, and unlike a key or a text."""
_BYTES_PER_TOKEN = 64
"""Bytes of body for each token that an answer may have, far above what any tokenizer and JSON escape need."""
_OVERHEAD = 2**16


class _Words(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Words
    finish_reason: str | None = None


class _Used(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Body(BaseModel):
    choices: tuple[_Choice, ...]
    usage: _Used | None = None


@dataclass(frozen=True)
class Reply:
    """What came back from a try that worked."""

    content: str
    used: tuple[int, int] | None
    """Tokens of prompt and answer; None where the server does not say."""
    is_cut: bool
    """Whether the answer ends where the limit of tokens is."""


@dataclass(frozen=True)
class Failure:
    """Why a try did not work."""

    reason: str
    may_pass: bool
    """Whether a later try may work."""
    wait_s: float | None = None
    """How long the server asks to wait."""
    may_be_billed: bool = False
    """Whether the server may have worked on it all the same."""


class Endpoint:
    """An OpenAI-compatible endpoint.

    Args:
        config: where it is; the key is in the environment.
    """

    def __init__(self, config: LlmConfig) -> None:
        self._config = config
        self._limit = "max_tokens"

    def check(self) -> None:
        """Refuse settings that name no endpoint.

        Raises:
            InputError: there is none.
        """
        if self._config.base_url is None or not self._config.model:
            raise InputError(
                "no language model to ask",
                expected="SYNDE_LLM_URL and SYNDE_LLM_MODEL",
                remedy="set both, or SYNDE_REFLECTOR=rules",
            )

    @cached_property
    def _client(self) -> Any:
        from openai import OpenAI

        self.check()
        key = os.environ.get(self._config.key_variable) or "none"
        return OpenAI(api_key=key, base_url=self._config.base_url, max_retries=0, timeout=self._config.timeout_s)

    def attempt(self, messages: Sequence[Message], response_format: dict[str, Any]) -> Reply | Failure:
        """Send one request and read its answer, within the time-out and a size.

        Raises:
            InputError: no endpoint is configured.
        """
        import httpx2
        import openai

        asking = self._client.chat.completions.with_streaming_response
        try:
            with asking.create(
                model=self._config.model,
                messages=[message._asdict() for message in messages],
                temperature=self._config.temperature,
                response_format=response_format,
                **{self._limit: self._config.max_output_tokens},
            ) as response:
                return self._read(response)
        except openai.APIStatusError as error:
            if error.status_code == 400 and error.param == "max_tokens" and self._limit == "max_tokens":
                self._limit = "max_completion_tokens"  # newer models refuse the older name
                return Failure("the parameter max_tokens is not supported", may_pass=True, wait_s=0.0)
            return refused(error, self._client.api_key)
        except (openai.APITimeoutError, httpx2.TimeoutException):
            return self._too_slow()
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            return Failure(f"the connection failed ({type(error).__name__})", may_pass=True, may_be_billed=True)

    def _read(self, response: Any) -> Reply | Failure:
        most = _OVERHEAD + _BYTES_PER_TOKEN * self._config.max_output_tokens
        until = time.monotonic() + self._config.timeout_s
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > most:
                return Failure(f"the answer is larger than {most} bytes", may_pass=False, may_be_billed=True)
            if time.monotonic() > until:
                return self._too_slow()
        try:
            parsed = _Body.model_validate_json(bytes(body))
        except ValidationError:
            return Failure("the answer is no chat completion", may_pass=True, may_be_billed=True)
        if not parsed.choices:
            return Failure("the answer has no choices", may_pass=True, may_be_billed=True)
        choice = parsed.choices[0]
        used = (parsed.usage.prompt_tokens, parsed.usage.completion_tokens) if parsed.usage else None
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return Failure("the model refused to answer", may_pass=False, may_be_billed=True)
        return Reply(choice.message.content or "", used, choice.finish_reason == "length")

    def _too_slow(self) -> Failure:
        return Failure(f"no answer within {self._config.timeout_s:g} s", may_pass=True, may_be_billed=True)


def refused(error: Any, key: str) -> Failure:
    """What a server's refusal says: its status and a short code, unless that holds the key."""
    status = error.status_code
    texts = [value for value in (error.code, error.type) if isinstance(value, str)]
    codes = [value for value in texts if _CODE.fullmatch(value) and key not in value]
    said = f" ({codes[0]})" if codes else ""
    may_pass = status in (408, 409, 429) or status >= 500
    return Failure(f"the server answered {status}{said}", may_pass, _wait_of(error.response.headers.get("retry-after")))


def _wait_of(header: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for; None where it gives a date, or nothing."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None

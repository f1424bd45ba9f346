"""What is asked of a language model: messages, the shape of the answer, and whose text they hold."""

import json
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel

from synde_pipeline.records import content_hash
from synde_pipeline.settings import LlmConfig

T = TypeVar("T", bound=BaseModel)

_PER_MESSAGE = 16
"""Tokens that a chat template may write around one message."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Request(Generic[T]):
    """One question with a structured answer."""

    messages: tuple[Message, ...]
    answer: type[T]
    """What the answer must be; its JSON schema goes along."""
    sources: tuple[str, ...]
    """Uids of the trajectories whose text is in the messages: removing one of them removes the answer."""

    def then(self, *more: Message) -> "Request[T]":
        """The same question, further on in its chat."""
        return replace(self, messages=(*self.messages, *more))

    @property
    def format(self) -> dict[str, Any]:
        """The `response_format` that asks for the answer's schema."""
        schema = _without_words(self.answer.model_json_schema())
        return {
            "type": "json_schema",
            "json_schema": {"name": self.answer.__name__, "strict": True, "schema": schema},
        }

    @property
    def most_tokens(self) -> int:
        """Tokens of the prompt at most: no tokenizer makes more tokens than there are bytes."""
        texts = [message.content for message in self.messages] + [json.dumps(self.format)]
        return sum(len(text.encode("utf-8")) for text in texts) + _PER_MESSAGE * (len(self.messages) + 1)


def _without_words(schema: Any) -> Any:
    """A schema without titles and docstrings: rewording a comment must not make every answer a new one."""
    if isinstance(schema, list):
        return [_without_words(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # A property may be called `title`: then it holds a schema, no text.
    words = {name for name in ("title", "description") if isinstance(schema.get(name), str)}
    return {name: _without_words(part) for name, part in schema.items() if name not in words}


def rule_of(config: LlmConfig) -> dict[str, Any]:
    """The settings that an answer follows; where the endpoint is, and what it may cost, is none of them."""
    return config.model_dump(include={"model", "temperature", "max_output_tokens"})


def key_of(request: Request[Any], config: LlmConfig) -> str:
    """Name of a request's answer in the cache: a hash of model, parameters, messages, schema and sources.

    The sources are in it so that every answer belongs to its own trajectories, and goes with them and no others.
    """
    return content_hash(
        {
            **rule_of(config),
            "messages": [message._asdict() for message in request.messages],
            "format": request.format,
            "sources": sorted(request.sources),
        }
    )

"""What a span of a language model, a tool or an agent says, in the attribute names of today and of before.

The order of spans and what is repeated in them is the business of `otel_runs`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from synde_pipeline.logs.importers.chat import Message, arguments_of
from synde_pipeline.logs.importers.otel_messages import messages_of, parsed, shown, tool_name, tree
from synde_pipeline.logs.importers.otel_spans import Event, Span

_INPUTS = ("gen_ai.input.messages", "llm.input_messages", "gen_ai.prompt", "pydantic_ai.all_messages")
_OUTPUTS = ("gen_ai.output.messages", "llm.output_messages", "gen_ai.completion")
_ARGUMENTS = (
    "gen_ai.tool.call.arguments",
    "gcp.vertex.agent.tool_call_args",
    "tool_arguments",
    "traceloop.entity.input",
    "input.value",
)
_RESULTS = (
    "gen_ai.tool.call.result",
    "gcp.vertex.agent.tool_response",
    "tool_response",
    "traceloop.entity.output",
    "output.value",
)
_MODELS = ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name")
_AGENTS = ("gen_ai.agent.name", "agent.name", "agent_name")
_TASKS = ("task", "input", "query", "question", "prompt")
_JUDGES = frozenset({"EVALUATOR", "GUARDRAIL"})


@dataclass(frozen=True)
class Said:
    """What went into a model or an agent, and what came out."""

    inputs: tuple[Message, ...]
    outputs: tuple[Message, ...]


@dataclass(frozen=True)
class ToolUse:
    """One call of a tool."""

    call_id: str
    name: str
    arguments: str
    result: str


def kind_of(span: Span) -> str:
    """`tool`, `judge`, `agent`, `model`, or empty for a span that is none of these."""
    found = span.attributes
    kind = str(found.get("openinference.span.kind") or found.get("traceloop.span.kind") or "").upper()
    operation = str(found.get("gen_ai.operation.name") or "")
    if kind == "TOOL" or operation == "execute_tool":
        return "tool"
    if kind in _JUDGES:
        return "judge"
    if kind == "AGENT" or operation in ("invoke_agent", "create_agent"):
        return "agent"
    return "model" if kind == "LLM" or operation or any(name in found for name in _MODELS) else ""


def model_of(span: Span) -> str:
    """The model's name; empty where the span has none."""
    return str(next((span.attributes[name] for name in _MODELS if span.attributes.get(name)), ""))


def agent_of(span: Span) -> str:
    """The agent's name; empty where the span has none."""
    return str(next((span.attributes[name] for name in _AGENTS if span.attributes.get(name)), ""))


def said_in(span: Span) -> Said:
    """The messages of a span; none where content was not captured."""
    # Attributes and events may hold the same: the first that has any counts.
    sources = [span.attributes, *(event.attributes for event in span.events)]
    inputs = next(filter(None, ([*_system_of(one), *_first(one, _INPUTS, "user")] for one in sources)), [])
    outputs = next(filter(None, (_first(one, _OUTPUTS, "assistant") for one in sources)), [])
    if not inputs and not outputs:
        inputs, outputs = _of_gemini(span.attributes)
    if not inputs and not outputs:
        events = list(span.events)
        if isinstance(listed := parsed(span.attributes.get("events")), list):
            events += [Event(str(one.get("event.name") or ""), one) for one in listed]
        inputs = [message for event in events for message in _of_event(event)]
        outputs = [message for event in events if event.name == "gen_ai.choice" for message in _choice(event)]
    return Said(tuple(inputs), tuple(outputs))


def tool_use(span: Span) -> ToolUse:
    """The call that a tool's span is."""
    found = span.attributes
    arguments = next((found[name] for name in _ARGUMENTS if name in found), None)
    result = next((found[name] for name in _RESULTS if name in found), None)
    call_id = str(found.get("gen_ai.tool.call.id") or found.get("tool_call.id") or "")
    name = found.get("gen_ai.tool.name") or found.get("tool.name") or found.get("traceloop.entity.name") or span.name
    answer = parsed(result)
    if isinstance(answer, dict) and "tool_call_id" in answer and "content" in answer:
        call_id, result = call_id or str(answer["tool_call_id"]), answer["content"]
    if arguments is None and result is None:  # older conventions put both into events
        said = [message for event in span.events for message in (*_of_event(event), *_choice(event))]
        arguments, result = _texts(said[:-1]) or None, _texts(said[-1:]) or None
    return ToolUse(call_id, tool_name(str(name).removeprefix("execute_tool ")), _plain(arguments), shown(result))


def outer_words(span: Span) -> tuple[str, str]:
    """What a span that holds no messages was given and gave back."""
    found = span.attributes
    given = parsed(found.get("input.value", found.get("traceloop.entity.input")))
    answer = parsed(found.get("output.value", found.get("traceloop.entity.output")))
    return _words(given, "user"), _words(answer, "assistant")


def _first(attributes: dict[str, Any], names: tuple[str, ...], role: str) -> list[Message]:
    for name in names:
        if (found := tree(attributes, name)) is not None and (messages := messages_of(found, role)):
            return messages
    return []


def _system_of(attributes: dict[str, Any]) -> list[Message]:
    found = parsed(attributes.get("gen_ai.system_instructions"))
    return messages_of([{"role": "system", "parts": found if isinstance(found, list) else [found]}]) if found else []


def _of_gemini(attributes: dict[str, Any]) -> tuple[list[Message], list[Message]]:
    """Requests and responses as Google's ADK records them."""
    request = parsed(attributes.get("gcp.vertex.agent.llm_request"))
    response = parsed(attributes.get("gcp.vertex.agent.llm_response"))
    inputs, outputs = [], []
    if isinstance(request, dict):
        system = (request.get("config") or {}).get("system_instruction")
        inputs = messages_of([{"role": "system", "content": shown(system)}] if system else [])
        inputs += messages_of(request.get("contents") or [])
    if isinstance(response, dict) and response.get("content"):
        outputs = messages_of([response["content"]], "assistant")
    return inputs, outputs


def _of_event(event: Event) -> list[Message]:
    """A message that went in, as conventions up to 1.36 record it: one event a message."""
    if not event.name.startswith("gen_ai.") or not event.name.endswith(".message"):
        return []
    role = event.name.removeprefix("gen_ai.").removesuffix(".message")
    return messages_of([_unpacked(event.attributes) | {"role": role}])


def _choice(event: Event) -> Iterator[Message]:
    if event.name == "gen_ai.choice":
        found = _unpacked(event.attributes)
        message = parsed(found.get("message"))
        raw = (
            message
            if isinstance(message, dict)
            else {"content": message if message is not None else found.get("content")}
        )
        yield from messages_of([{"tool_calls": found.get("tool_calls"), **raw, "role": "assistant"}])


def _unpacked(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: parsed(value) if key == "tool_calls" else value for key, value in attributes.items()}


def _texts(messages: list[Message]) -> str:
    return "".join(message.text for message in messages)


def _plain(arguments: Any) -> str:
    """Arguments without the wrapping that tracers put around them."""
    found = parsed(arguments)
    if isinstance(found, dict) and found.keys() >= {"args", "kwargs"}:
        positional = {"args": found["args"]} if found["args"] else {}
        found = {**positional, **(found["kwargs"] or {})}
    elif isinstance(found, dict) and isinstance(found.get("inputs"), dict):
        found = found["inputs"]
    return arguments_of(found)


def _words(value: Any, role: str) -> str:
    if isinstance(value, dict):
        for name in _TASKS:
            if isinstance(value.get(name), str):
                return value[name]
        if isinstance(value.get("messages"), list):
            said = [message.text for message in messages_of(value, role) if message.role == role and message.text]
            return (said[0] if role == "user" else said[-1]) if said else ""
    return shown(value)

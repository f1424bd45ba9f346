"""What a span of a language model, a tool or an agent says, in the attribute names of today and of before.

Messages come out as `turns` reads them; what is repeated in them is the business of `span_runs`.
"""

from collections.abc import Iterable
from typing import Any

from synde_pipeline.logs.importers.otel_spans import Event, Native, tree
from synde_pipeline.logs.importers.parts import decoded, kind_of
from synde_pipeline.logs.importers.spans import Span
from synde_pipeline.logs.importers.turns import turns_of

_INPUTS = ("gen_ai.input.messages", "llm.input_messages", "gen_ai.prompt", "pydantic_ai.all_messages")
_OUTPUTS = ("gen_ai.output.messages", "llm.output_messages", "gen_ai.completion")
_GIVEN = ("traceloop.entity.input", "input.value")
_GIVEN_BACK = ("traceloop.entity.output", "output.value")
_ARGUMENTS = ("gen_ai.tool.call.arguments", "gcp.vertex.agent.tool_call_args", "tool_arguments", *_GIVEN)
_RESULTS = ("gen_ai.tool.call.result", "gcp.vertex.agent.tool_response", "tool_response", *_GIVEN_BACK)
_TOOLS = ("gen_ai.tool.name", "tool.name", "traceloop.entity.name")
_MODELS = ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name")
_AGENTS = ("gen_ai.agent.name", "agent.name", "agent_name")
_JUDGES = ("EVALUATOR", "GUARDRAIL")
_CONTENTS = ("content", "contents", "parts", "tool_calls")


def span_of(native: Native) -> Span:
    """A native span as a plain one: a model's call where it holds messages, whatever it calls itself."""
    found = native.attributes
    kind = str(found.get("openinference.span.kind") or found.get("traceloop.span.kind") or "").upper()
    ok = not native.failed
    if kind == "TOOL" or found.get("gen_ai.operation.name") == "execute_tool":
        return _tool(native)
    if kind in _JUDGES:
        return Span(native.id, native.parent, "judge", at=native.at, until=native.until)
    asked, answered = _messages_in(native)
    if asked or answered:
        return Span(native.id, native.parent, "model", native.name, asked, answered, native.at, native.until)
    return Span(native.id, native.parent, "other", native.name, *outer_words(native), native.at, native.until, ok)


def model_of(native: Native) -> str:
    """The model's name; empty where the span has none."""
    return str(_value(native.attributes, _MODELS) or "")


def agent_of(native: Native) -> str:
    """The agent's name; empty where the span has none."""
    return str(_value(native.attributes, _AGENTS) or "")


def outer_words(native: Native) -> tuple[Any, Any]:
    """What a span that holds no messages was given and gave back."""
    return _value(native.attributes, _GIVEN), _value(native.attributes, _GIVEN_BACK)


def _value(attributes: dict[str, Any], names: Iterable[str]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name)), None)


def _tool(native: Native) -> Span:
    found = native.attributes
    arguments, result = _value(found, _ARGUMENTS), _value(found, _RESULTS)
    call_id = found.get("gen_ai.tool.call.id") or found.get("tool_call.id") or ""
    if arguments is None and result is None:  # older conventions put both into events
        said = [turn.text for event in native.events for turn in turns_of([*_of_event(event), *_choice(event)])]
        arguments, result = "".join(said[:-1]) or None, "".join(said[-1:]) or None
    answer = decoded(result)
    if isinstance(answer, dict) and "tool_call_id" in answer and "content" in answer:
        call_id, result = call_id or answer["tool_call_id"], answer["content"]
    name = str(_value(found, _TOOLS) or native.name)
    times = native.at, native.until
    return Span(native.id, native.parent, "tool", name, arguments, result, *times, not native.failed, str(call_id))


def _messages_in(native: Native) -> tuple[Any, Any]:
    """What went into a model or an agent, and what came out; nothing where content was not captured."""
    # Attributes and events may hold the same: the first that has any counts.
    sources = [native.attributes, *(event.attributes for event in native.events)]
    asked = next(filter(None, ([*_system_in(one), *_first(one, _INPUTS, "user")] for one in sources)), [])
    answered = next(filter(None, (_first(one, _OUTPUTS, "assistant") for one in sources)), [])
    if asked or answered:
        return asked, answered
    request = decoded(native.attributes.get("gcp.vertex.agent.llm_request"))  # as Google's ADK records them
    response = decoded(native.attributes.get("gcp.vertex.agent.llm_response"))
    if isinstance(request, dict) or isinstance(response, dict):
        request, response = (one if isinstance(one, dict) else {} for one in (request, response))
        system = (request.get("config") or {}).get("system_instruction")
        return {"system": system, "contents": request.get("contents")}, response.get("content")
    events = list(native.events)
    if isinstance(listed := decoded(native.attributes.get("events")), list):
        events += [Event(str(one.get("event.name") or ""), one) for one in listed]
    return [raw for event in events for raw in _of_event(event)], [raw for one in events for raw in _choice(one)]


def _system_in(attributes: dict[str, Any]) -> list[Any]:
    found = decoded(attributes.get("gen_ai.system_instructions"))
    return [{"role": "system", "parts": found if isinstance(found, list) else [found]}] if found else []


def _first(attributes: dict[str, Any], names: tuple[str, ...], role: str) -> list[Any]:
    found = (_messages(value, role) for name in names if (value := tree(attributes, name)) is not None)
    return next(filter(None, found), [])


def _messages(value: Any, role: str) -> list[Any]:
    """Messages given as a list of them, as one, or as bare text."""
    if isinstance(value, dict):
        value = value["messages"] if isinstance(value.get("messages"), list) else [value]
    return [found for raw in (value if isinstance(value, list) else [value]) for found in _message(raw, role)]


def _message(raw: Any, role: str) -> list[dict[str, Any]]:
    """One message without what OpenInference wraps it and its parts in; none where it has no content."""
    if not isinstance(raw, dict):
        return [{"role": role, "content": raw}] if raw else []
    raw = tree(raw, "message") if "message.role" in raw else raw
    raw = raw["message"] if isinstance(raw.get("message"), dict) else raw
    if kind_of(raw):  # a call or a result that stands by itself
        return [{"role": role, "content": [raw]}]
    content = _value(raw, _CONTENTS[:3])
    listed = decoded(content)
    if content is listed or (isinstance(listed, list) and all(map(_is_part, listed))):
        content = _unwrapped(listed, "message_content")
    calls = _unwrapped(raw.get("tool_calls"), "tool_call")
    rest = {key: value for key, value in raw.items() if key not in _CONTENTS}
    return [{"role": role, **rest, "content": content, "tool_calls": calls}] if content or calls else []


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and bool(kind_of(value) or "text" in value)


def _unwrapped(values: Any, name: str) -> Any:
    if not isinstance(values, list):
        return values
    return [one[name] if isinstance(one, dict) and isinstance(one.get(name), dict) else one for one in values]


def _of_event(event: Event) -> list[Any]:
    """A message that went in, as conventions up to 1.36 record it: one event a message."""
    if not event.name.startswith("gen_ai.") or not event.name.endswith(".message"):
        return []
    role = event.name.removeprefix("gen_ai.").removesuffix(".message")
    return _message(_with_calls(event.attributes) | {"role": role}, role)


def _choice(event: Event) -> list[Any]:
    if event.name != "gen_ai.choice":
        return []
    found = _with_calls(event.attributes)
    said = decoded(found.get("message"))
    said = said if isinstance(said, dict) else {"content": found.get("content") if said is None else said}
    return _message({"tool_calls": found.get("tool_calls"), **said, "role": "assistant"}, "assistant")


def _with_calls(attributes: dict[str, Any]) -> dict[str, Any]:
    return attributes | {"tool_calls": decoded(attributes.get("tool_calls"))}

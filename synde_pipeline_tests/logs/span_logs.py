"""One short run of a gardener as spans, in every convention of attributes and every encoding of spans."""

import json
from typing import Any

from synde_pipeline.records import REPLY

T0 = 1_700_000_000_000_000_000
SYSTEM, TASK, ANSWER = "You tend a garden.", "Is bed 3 dry?", "Bed 3 is dry."
STEPS = [
    ("", "I look.", "look", '{"bed":3}', "dry", True),
    ("", "", "smell", '{"bed":3}', "no nose", False),
    ("dry\nno nose", "", REPLY, ANSWER, "", None),
]
Attributes = dict[str, Any]


def span(number: int, parent: int, name: str, start: int, end: int, attributes: Attributes, **values: Any) -> dict:
    """A span in plain form: ids are small numbers, times are seconds after T0."""
    return {"id": number, "parent": parent, "name": name, "start": start, "end": end, "attributes": attributes} | values


def run(first: dict, second: dict, look: Attributes, smell: Attributes) -> list[dict]:
    """The whole run, its spans in the order of their ends; `first` and `second` are the model's calls."""
    model = {"gen_ai.request.model": "small"}
    return [
        span(2, 1, "chat small", 1, 2, model | first.get("attributes", {}), events=first.get("events", [])),
        span(3, 1, "execute_tool look", 3, 4, look),
        span(4, 1, "execute_tool smell", 3, 5, smell, failed=True),
        span(5, 1, "chat small", 6, 7, model | second.get("attributes", {}), events=second.get("events", [])),
        span(1, 0, "invoke_agent gardener", 0, 8, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "G"}),
    ]


def part(kind: str, **values: Any) -> dict:
    return {"type": kind} | values


CALLS = [("a", "look", {"bed": 3}), ("b", "smell", {"bed": 3})]
RESULTS = [("a", "dry"), ("b", "no nose")]


def tool(name: str, call_id: str, result: str) -> Attributes:
    call = {
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.call.arguments": '{"bed": 3}',
        "gen_ai.tool.call.result": result,
    }
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name} | call


def current() -> list[dict]:
    """The conventions of today: messages with parts in attributes, as JSON."""
    asked = {"role": "user", "parts": [part("text", content=TASK)]}
    called = [part("tool_call", id=key, name=name, arguments=values) for key, name, values in CALLS]
    acted = {"role": "assistant", "parts": [part("text", content="I look."), *called], "finish_reason": "tool_call"}
    answers = [{"role": "tool", "parts": [part("tool_call_response", id=key, response=text)]} for key, text in RESULTS]
    system = {"gen_ai.system_instructions": json.dumps([part("text", content=SYSTEM)])}
    done = {"role": "assistant", "parts": [part("text", content=ANSWER)], "finish_reason": "stop"}
    first = {"gen_ai.input.messages": json.dumps([asked]), "gen_ai.output.messages": json.dumps([acted])}
    second = {
        "gen_ai.input.messages": json.dumps([asked, acted, *answers]),
        "gen_ai.output.messages": json.dumps([done]),
    }
    return run(
        {"attributes": system | first},
        {"attributes": system | second},
        tool("look", "a", "dry"),
        tool("smell", "b", "no nose"),
    )


def openai_calls(*, flat: bool = False) -> list[dict]:
    each = [{"name": name, "arguments": json.dumps(values)} for _, name, values in CALLS]
    if flat:
        return [{"id": key} | one for (key, _, _), one in zip(CALLS, each, strict=True)]
    return [{"id": key, "type": "function", "function": one} for (key, _, _), one in zip(CALLS, each, strict=True)]


def by_events() -> list[dict]:
    """Conventions up to 1.36: one event a message, one a choice."""

    def event(name: str, **values: Any) -> dict:
        return {"name": f"gen_ai.{name}", "attributes": values}

    asked = [event("system.message", content=SYSTEM), event("user.message", content=TASK)]
    calls = json.dumps(openai_calls())
    again = event("assistant.message", content="I look.", tool_calls=calls)
    answers = [event("tool.message", id=key, content=text) for key, text in RESULTS]
    acted = event("choice", index=0, message=json.dumps({"content": "I look.", "tool_calls": openai_calls()}))
    done = event("choice", index=0, message=json.dumps({"role": "assistant", "content": ANSWER}))
    return run(
        {"events": [*asked, acted]},
        {"events": [*asked, again, *answers, done]},
        tool("look", "a", "dry"),
        tool("smell", "b", "no nose"),
    )


def flattened(prefix: str, messages: list[dict], wrap: bool) -> Attributes:
    """Messages in numbered attribute names, as OpenInference (wrapped) and OpenLLMetry write them."""
    found: Attributes = {}

    def put(at: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                put(f"{at}.{key}", inner)
        elif isinstance(value, list):
            for k, inner in enumerate(value):
                put(f"{at}.{k}", inner)
        else:
            found[at] = value

    put(prefix, [{"message": one} if wrap else one for one in messages])
    return found


def openinference() -> list[dict]:
    """OpenInference: flattened messages, calls of one turn split into messages of their own when repeated."""
    asked = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TASK}]
    calls = [{"tool_call": one} for one in openai_calls()]
    contents = [{"message_content": {"type": "text", "text": "I look."}}]
    acted = {"role": "assistant", "contents": contents, "tool_calls": calls}
    again = [acted | {"tool_calls": calls[:1]}, {"role": "assistant", "tool_calls": calls[1:]}]
    answers = [{"role": "tool", "content": text, "tool_call_id": key} for key, text in RESULTS]
    kind, model = {"openinference.span.kind": "LLM"}, {"llm.model_name": "small"}
    first = flattened("llm.input_messages", asked, True) | flattened("llm.output_messages", [acted], True)
    second = flattened("llm.input_messages", [*asked, *again, *answers], True)
    second |= flattened("llm.output_messages", [{"role": "assistant", "content": ANSWER}], True)
    found = run({"attributes": kind | first}, {"attributes": kind | second}, *map(_openinference_tool, RESULTS))
    for one in found:
        one["attributes"] = {k: v for k, v in one["attributes"].items() if not k.startswith("gen_ai.")} | model
    found[-1]["attributes"] |= {"openinference.span.kind": "AGENT", "agent.name": "G"}
    return found


def _openinference_tool(result: tuple[str, str]) -> Attributes:
    name = dict(zip("ab", ("look", "smell"), strict=True))[result[0]]
    values = {"tool.name": name, "input.value": '{"bed": 3}', "output.value": result[1]}
    return {"openinference.span.kind": "TOOL"} | values


def openllmetry() -> list[dict]:
    """OpenLLMetry: flattened prompts and completions, tools by `traceloop`."""
    asked = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TASK}]
    acted = {"role": "assistant", "content": "I look.", "tool_calls": openai_calls(flat=True)}
    answers = [{"role": "tool", "content": text, "tool_call_id": key} for key, text in RESULTS]
    done = {"role": "assistant", "content": ANSWER, "finish_reason": "stop"}
    tools = [
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": name,
            "traceloop.entity.input": json.dumps({"inputs": {"bed": 3}}),
            "traceloop.entity.output": text,
        }
        for name, text in (("look", "dry"), ("smell", "no nose"))
    ]
    first = flattened("gen_ai.prompt", asked, False) | flattened("gen_ai.completion", [acted], False)
    second = flattened("gen_ai.prompt", [*asked, acted, *answers], False) | flattened(
        "gen_ai.completion", [done], False
    )
    return run({"attributes": first}, {"attributes": second}, *tools)


CONVENTIONS = {one.__name__: one for one in (current, by_events, openinference, openllmetry)}

# -- encodings -----------------------------------------------------------------------------------------------------


def any_value(value: Any) -> dict:
    """A value as OTLP writes it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(one) for one in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": any_value(one)} for key, one in value.items()]}}
    return {"stringValue": value}


def pairs(attributes: Attributes) -> list[dict]:
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def nanoseconds(seconds: int) -> str:
    return str(T0 + seconds * 10**9)


def otlp_span(one: dict, trace: str = "t1") -> dict:
    events = [{"name": event["name"], "attributes": pairs(event["attributes"])} for event in one.get("events", [])]
    return {
        "traceId": trace,
        "spanId": f"s{one['id']}",
        "parentSpanId": f"s{one['parent']}" if one["parent"] else "",
        "name": one["name"],
        "startTimeUnixNano": nanoseconds(one["start"]),
        "endTimeUnixNano": nanoseconds(one["end"]),
        "attributes": pairs(one["attributes"]),
        "events": events,
        "status": {"code": "STATUS_CODE_ERROR"} if one.get("failed") else {},
    }


def otlp(spans: list[dict], trace: str = "t1", *, resources: str = "resourceSpans", scopes: str = "scopeSpans") -> dict:
    resource = {"attributes": pairs({"service.name": "Garden Desk"})}
    held = [{"scope": {"name": "x"}, "spans": [otlp_span(one, trace) for one in spans]}]
    return {resources: [{"resource": resource, scopes: held}]}


def tempo(spans: list[dict]) -> dict:
    return otlp(spans, resources="batches", scopes="instrumentationLibrarySpans")


def jaeger(spans: list[dict]) -> dict:
    def tags(attributes: Attributes) -> list[dict]:
        return [{"key": key, "type": "string", "value": value} for key, value in attributes.items()]

    found = [
        {
            "traceID": "t1",
            "spanID": f"s{one['id']}",
            "operationName": one["name"],
            "references": [{"refType": "CHILD_OF", "traceID": "t1", "spanID": f"s{one['parent']}"}]
            if one["parent"]
            else [],
            "startTime": (T0 + one["start"] * 10**9) // 1000,
            "duration": (one["end"] - one["start"]) * 10**6,
            "tags": tags(one["attributes"] | ({"error": True} if one.get("failed") else {})),
            "logs": [
                {"timestamp": 1, "fields": tags({"event": event["name"]} | event["attributes"])}
                for event in one.get("events", [])
            ],
            "processID": "p1",
        }
        for one in spans
    ]
    return {
        "data": [{"traceID": "t1", "spans": found, "processes": {"p1": {"serviceName": "Garden Desk", "tags": []}}}]
    }


def printed(spans: list[dict]) -> str:
    """As the console exporter of an SDK prints spans: one object after another."""
    return "\n".join(
        json.dumps(
            {
                "name": one["name"],
                "context": {"trace_id": "t1", "span_id": f"s{one['id']}", "trace_state": "[]"},
                "kind": "SpanKind.INTERNAL",
                "parent_id": f"s{one['parent']}" if one["parent"] else None,
                "start_time": f"2023-11-14T22:13:{20 + one['start']}.000000Z",
                "end_time": f"2023-11-14T22:13:{20 + one['end']}.000000Z",
                "status": {"status_code": "ERROR" if one.get("failed") else "UNSET"},
                "attributes": one["attributes"],
                "events": one.get("events", []),
                "resource": {"attributes": {"service.name": "Garden Desk"}, "schema_url": ""},
            },
            indent=4,
        )
        for one in spans
    )


ENCODINGS = {one.__name__: one for one in (otlp, tempo, jaeger, printed)}

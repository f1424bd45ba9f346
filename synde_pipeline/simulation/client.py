"""An agent of the worlds that knows a server and nothing else: OpenAI's client, and `/feedback` after each task."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synde_pipeline.records import INVALID
from synde_pipeline.simulation.worlds.base import ANSWER, Episode, Task

AT_ONCE = 24
"""Episodes that are under way together."""


@dataclass(frozen=True)
class Deployed:
    """How one episode went."""

    task: Task
    is_success: bool
    n_steps: int
    layers: str
    """Which layers answered its first request."""


def deploy(url: str, tasks: Sequence[Task], names: Sequence[str], *, seed: int) -> list[Deployed]:
    """Let the agent behind a server try tasks, and tell the server how each of them ended.

    Args:
        url: of the server, without a path.
        tasks: in the order in which they come back.
        names: of their traces.
        seed: of environment and sampling.
    """
    return asyncio.run(_all_of(url, tasks, names, seed))


async def _all_of(url: str, tasks: Sequence[Task], names: Sequence[str], seed: int) -> list[Deployed]:
    import httpx2
    from openai import AsyncOpenAI

    gate = asyncio.Semaphore(AT_ONCE)
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client,
        httpx2.AsyncClient(base_url=url, timeout=60) as plain,
    ):

        async def one(task: Task, name: str) -> Deployed:
            async with gate:
                done, last = await _episode(client, task, name, seed)
                outcome = "success" if done.is_success else "failure"
                said = await plain.post("/feedback", json={"id": last, "outcome": outcome, "by": "verifier"})
                said.raise_for_status()
                return done

        return list(await asyncio.gather(*(one(*pair) for pair in zip(tasks, names, strict=True))))


async def _episode(client: Any, task: Task, name: str, seed: int) -> tuple[Deployed, str]:
    """One episode; returns it and the id of the last response."""
    episode, place = Episode(task, seed=seed), task.place
    talk: list[Mapping[str, Any]] = [_said("user", task.text), _said("user", episode.observation)]
    headers = {
        "x-synde-domain": place.world.domain,
        "x-synde-scope": place.scope,
        "x-synde-task": task.task_id,
        "x-synde-trace": name,
    }
    tools = [{"type": "function", "function": {"name": tool}} for tool in (*_tools(task), ANSWER)]
    layers = last = ""
    while not episode.is_over:
        raw = await client.chat.completions.with_raw_response.create(
            model="synde",
            messages=talk,
            tools=tools,
            max_tokens=24,
            seed=_draw(seed, task.task_id, episode.n_steps),
            extra_headers=headers,
        )
        answer = raw.parse()
        layers, last = layers or raw.headers["x-synde-layers"], answer.id
        message = answer.choices[0].message
        talk.append(message.model_dump(exclude_none=True))
        if message.tool_calls:
            call = message.tool_calls[0]
            reply = episode.act(call.function.name, call.function.arguments)
            told = {**_said("tool", reply.result), "tool_call_id": call.id, "is_error": not reply.success}
        else:
            told = _said("user", episode.act(INVALID, message.content or "").result)
        talk.append(told)
    return Deployed(task, episode.is_success, episode.n_steps, layers), last


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _tools(task: Task) -> list[str]:
    return [stage.tool for stage in task.place.world.stages]


def _draw(*what: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, what)).encode()).digest()[:4], "big")

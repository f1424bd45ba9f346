"""Samples of Inspect AI logs, put together from what newer logs store apart: attachments, pools, chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from synde_pipeline.logs.archives import Archive, UnpackError

_LINKS = ("attachment://", "tc://")
_OF_EVAL = ("task", "model", "created", "run_id", "eval_id")


@dataclass(frozen=True)
class Broken:
    """A sample that an archive names and does not give."""

    name: str
    reason: str


def samples_of(log: Any) -> Iterator[Any]:
    """Yield the samples of a log, each with what the log's head says of all as `eval`."""
    if isinstance(log, Archive):
        head = _head_of(log)
        for name in sorted(dict.fromkeys(filter(is_sample, log.names))):
            try:
                yield _with_head(_sample_in(log, name), head)
            except UnpackError as error:
                yield Broken(name, str(error))
        return
    for sample in log["samples"]:
        yield _with_head(sample, log)


def is_sample(name: str) -> bool:
    """Whether a member is a sample, or the shell of one that is stored in chunks."""
    parts = name.split("/")
    whole = len(parts) == 2 and name.endswith(".json")
    return parts[0] == "samples" and (whole or (len(parts) == 3 and parts[2] == "sample.json"))


def _head_of(log: Archive) -> Any:
    """The log's head; a run that was cut off has only its start."""
    for name in ("header.json", "_journal/start.json"):
        if name in log.names:
            try:
                return log.json(name)
            except UnpackError:
                continue
    return {}


def _with_head(sample: Any, head: Any) -> Any:
    of_all = head.get("eval") if isinstance(head, dict) else None
    if not isinstance(sample, dict) or not isinstance(of_all, dict):
        return sample
    return sample | {"eval": {key: of_all[key] for key in _OF_EVAL if key in of_all}}


def _sample_in(log: Archive, name: str) -> Any:
    """A sample; of one in chunks without its events, which say nothing that its messages do not."""
    sample = log.json(name)
    if not name.endswith("/sample.json") or not isinstance(sample, dict):
        return sample
    folder = name.removesuffix("sample.json")
    pool, attached = (_chunks(log, f"{folder}{kind}/") for kind in ("messages", "attachments"))
    messages = expanded(sample.get("message_refs"), pool)
    return sample | {"messages": messages, "attachments": {str(k): text for k, text in enumerate(attached)}}


def _chunks(log: Archive, folder: str) -> list[Any]:
    """A sequence whose chunks are named by the place of their first item."""
    starts = [name.removeprefix(folder).removesuffix(".json") for name in log.names if name.startswith(folder)]
    items: list[Any] = []
    for start in sorted({int(start) for start in starts if start.isascii() and start.isdigit() and len(start) < 19}):
        chunk = log.json(f"{folder}{start}.json")
        if start != len(items) or not isinstance(chunk, list):
            raise UnpackError(f"{folder}{start}.json does not follow {len(items)} items")
        items += chunk
    return items


def expanded(ranges: Any, pool: Any) -> list[Any]:
    """The items of a pool in ranges `[start, end)`.

    Raises:
        ValueError: ranges point outside the pool, or name more than a run can hold.
    """
    found: list[Any] = []
    for start, end in ranges or ():
        if not 0 <= start <= end <= len(pool) or len(found) > 2**20:
            raise ValueError(f"range {start}..{end} is none of a pool of {len(pool)} messages")
        found += pool[start:end]
    return found


def messages_of(sample: dict[str, Any]) -> list[Any]:
    """The whole conversation of a sample, attachments in their places."""
    attached = sample.get("attachments") or (sample.get("transcript") or {}).get("content") or {}
    return resolved(sample.get("messages") or _of_last_call(sample), attached)


def _of_last_call(sample: dict[str, Any]) -> list[Any]:
    """The conversation as the last call of the model has it, where the sample itself does not hold it."""
    calls = [event for event in sample.get("events") or () if event.get("event") == "model"]
    if not calls:
        return []
    pool = sample.get("message_pool") or (sample.get("events_data") or {}).get("messages") or []
    last = calls[-1]
    choices = (last.get("output") or {}).get("choices") or []
    return [*(last.get("input") or expanded(last.get("input_refs"), pool)), *(one["message"] for one in choices[:1])]


def resolved(value: Any, attached: dict[str, Any]) -> Any:
    """A JSON value with what its links point to; a link to nothing stays."""
    if isinstance(value, str):
        link = next((link for link in _LINKS if value.startswith(link)), "")
        return attached.get(value.removeprefix(link), value) if link else value
    if isinstance(value, list):
        return [resolved(one, attached) for one in value]
    if isinstance(value, dict):
        return {key: resolved(one, attached) for key, one in value.items()}
    return value

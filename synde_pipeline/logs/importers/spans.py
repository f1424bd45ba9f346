"""Spans of a trace, whatever the tracer: their order, which of them are one call, and what happened when.

How a run is made of them is in `span_runs`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from synde_pipeline.records import canonical_json

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """One span."""

    id: str
    parent: str
    kind: Literal["model", "tool", "judge", "other"]
    """What it records; a judge and what is done for it are no part of the run."""
    name: str = ""
    asked: Any = None
    """Its input."""
    answered: Any = None
    """Its output."""
    at: datetime | None = None
    until: datetime | None = None
    ok: bool | None = None
    """For tools: whether the call worked, as the log says it."""
    call_id: str = ""
    """For tools: what the model calls the call, where the log says it."""

    @property
    def speaks(self) -> bool:
        """Whether it is a model's call with any content."""
        empty = (None, "", [], {})
        return self.kind == "model" and (self.asked not in empty or self.answered not in empty)


class Moment(NamedTuple):
    """Something that happened, in the order of time: what ends then is before what begins then."""

    at: datetime
    rank: int
    number: int
    """Of the call."""
    is_end: bool
    calls: list[Span]


def moments_of(spans: Iterable[Span]) -> list[Moment]:
    """Beginnings and ends of all calls. Spans without a time come first, in the order given."""
    found = []
    for number, calls in enumerate(_calls(list(spans))):
        begun = calls[0].at or _LONG_AGO + timedelta(microseconds=number)
        ended = max(calls[0].until or begun, begun)
        rank = 0 if calls[0].kind == "model" else 1
        found.append(Moment(begun, 2 + rank, number, False, calls))
        found.append(Moment(ended, rank if ended > begun else 2 + rank, number, True, calls))
    return sorted(found, key=lambda moment: moment[:4])


def _calls(spans: list[Span]) -> Iterator[list[Span]]:
    """Spans that are one call, the innermost first: two instrumentations may both record a call of a model.

    A span around several calls (an agent's) only says again what they say.
    """
    owners = _owners(spans)
    spans = [one for one in spans if one.kind != "judge" and not ((by := owners[id(one)]) and by.kind == "judge")]
    inner: dict[int, list[Span]] = {}
    for span in spans:
        if span.speaks and (owner := owners[id(span)]):
            inner.setdefault(id(owner), []).append(span)
    tools = {span.name for span in spans if span.kind == "tool"}
    for span in spans:
        if span.kind == "tool" or (span.kind == "other" and span.name not in tools):
            yield [span]
        elif span.speaks and len(inner.get(id(owners[id(span)]), [])) != 1:
            chain = [span]
            while len(next_ones := inner.get(id(chain[-1]), [])) == 1:
                chain += next_ones
            if not next_ones:
                yield chain[::-1]


def _owners(spans: list[Span]) -> dict[int, Span | None]:
    """For each span the judge that it works for, else the model's call that it lies in, up to the nearest tool."""
    by_id = {span.id: span for span in spans if span.id}
    found: dict[int, Span | None] = {}
    for span in spans:
        way: dict[int, Span] = {}
        at: Span | None = span
        while at is not None and id(at) not in found and id(at) not in way:
            way[id(at)] = at
            at = by_id.get(at.parent)
        above = at if at is not None and id(at) in found else None  # a circle of parents is cut
        for key, one in reversed(way.items()):
            found[key] = None if above is None else _owner_below(above, found[id(above)])
            above = one
    return found


def _owner_below(parent: Span, owner: Span | None) -> Span | None:
    if parent.kind == "judge" or (owner and owner.kind == "judge"):
        return parent if parent.kind == "judge" else owner
    return None if parent.kind == "tool" else parent if parent.speaks else owner


def in_order(spans: Iterable[Span]) -> list[Span]:
    """Spans in their order."""
    return sorted(spans, key=lambda span: place_of(span.at, span.until, span.id))


def place_of(at: datetime | None, until: datetime | None, span_id: str) -> tuple[datetime, datetime, str]:
    """Where a span stands among others, whatever file it came from; undated ones first, as they came."""
    return (at, until or at, span_id) if at else (_LONG_AGO, _LONG_AGO, "")


def once(natives: Iterable[Any], key_of: Callable[[Any], str]) -> list[Any]:
    """Each native span once: of several versions that an exporter wrote of one, the one that says most."""
    versions: dict[str, list[Any]] = {}
    for native in natives:
        versions.setdefault(key_of(native), []).append(native)
    return [fullest(same) for same in versions.values()]


def fullest(values: list[Any]) -> Any:
    """The value that says most, the same one in whatever order they come."""
    if len(values) == 1:
        return values[0]
    texts = [(len(text := canonical_json(value)), text) for value in values]
    return values[texts.index(max(texts))]


def times_of(spans: Iterable[Span]) -> tuple[datetime | None, datetime | None]:
    """When a trace began and ended: the earliest start and the latest end that are logged."""
    times = [(span.at, span.until) for span in spans]
    return min((at for at, _ in times if at), default=None), max((until for _, until in times if until), default=None)

"""What no importer should meet and some day will: documents with any value replaced, and any JSON at all."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from synde_pipeline.logs.reading import read_file, spread_over
from synde_pipeline.logs.runs import FileImport

JUNK: list[Any] = [
    *(None, "", "x", "\ud800", "{", "[[", -1, 0, 10**30, 10**400, 1.5, float("inf"), float("nan"), True, False),
    *([], {}, [[]], [{}], [None], ["x"], [1], {"a": {}}, {"role": "user"}, {"type": []}, "2025-02-30", "9" * 5000),
]

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn, document: Any, n_most: int = 2) -> Any:
    """The document with one value or two replaced by junk, anywhere in it."""
    document = deepcopy(document)
    for _ in range(draw(st.integers(1, n_most))):
        found = list(places(document))
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        holder[key] = deepcopy(draw(st.sampled_from(JUNK) | any_json))
    return document


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where anything stands in a document: what holds it, and its key or index."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def read(tmp_path, content: Any, name: str = "log.jsonl", **options: Any) -> FileImport:
    """Read a file that holds rows as JSON lines (of a list, where the name says so), else one value or a text."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list) and name.endswith(".jsonl"):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return read_file(path, rule=spread_over(), **options)


def whole(found: FileImport) -> int:
    """How many rows came out of a file, as runs or as quarantined rows."""
    return len(found.trajectories) + len(found.bad)


def steps_of(run: Any) -> list[tuple[str, str, str, str, str, bool | None]]:
    """Steps as (state, reasoning, tool, arguments, result, success)."""
    return [(one.state, one.reasoning, one.tool, one.arguments, one.result, one.success) for one in run.steps]

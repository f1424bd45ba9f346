"""No text in which redaction would find something goes unsuspected, and whole tables are redacted as each run alone."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.logs import sensitive
from synde_pipeline.logs.parquet import from_table, to_table
from synde_pipeline.logs.reading import read_files, spread_over
from synde_pipeline.logs.redact import Redactor, redact_table, redact_trajectory
from synde_pipeline.logs.sensitive import spans_of
from synde_pipeline.logs.suspects import suspects_in, suspects_of
from synde_pipeline_tests.helpers import SHARED, needs_shared, step, texts, trajectories, trajectory
from synde_pipeline_tests.logs.test_redact import KNOWN

PATTERNS = [
    *(pattern for _, pattern in sensitive._patterns()),
    *(sensitive._ASSIGNED, sensitive._LONG, sensitive._PHONE, sensitive._CARD, sensitive._IBAN),
]
BETWEEN = ["", " ", '"', "\\n", "\\", "\n", "\\\\", "/", "=", "a", "١", "ſ", "\u212a"]
known = st.sampled_from(KNOWN).map(lambda pair: pair[1])


def unsuspected(texts: list[str]) -> list[str]:
    """Texts that redaction would change, and nobody suspects."""
    suspects = suspects_of([trajectory(system=text, steps=()) for text in texts])
    return [text for text in texts if text not in suspects and spans_of(text)]


def unsuspected_arguments(texts: list[str]) -> list[str]:
    suspects = suspects_of([trajectory(steps=(step(tool="find", arguments=text),)) for text in texts])
    return [text for text in texts if text not in suspects and Redactor().arguments(text) != text]


# Many texts an example: each asks for a whole pass over columns.
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.pattern[:24])
def test_whatever_a_pattern_matches_is_suspected(pattern):
    between = st.sampled_from(BETWEEN)
    # A look ahead is met by chance often enough; hypothesis would throw away what does not meet it.
    matching = st.from_regex(re.compile(re.sub(r"\(\?=[^)]*\)", "", pattern.pattern), pattern.flags))

    @settings(max_examples=8)
    @given(st.lists(st.tuples(between, matching, between), min_size=1, max_size=16))
    def holds(matches):
        texts = [f"x{before}{match}{after}y" for before, match, after in matches]
        assert unsuspected([*texts, *(text.replace(" ", blank) for text in texts for blank in ("\\", "\\n"))]) == []

    holds()


mixtures = st.lists(known | texts | st.sampled_from(BETWEEN), max_size=6).map("".join)


@given(st.lists(mixtures, min_size=5, max_size=20), st.integers(0, 2))
def test_whatever_redaction_changes_is_suspected_also_as_json_inside_of_json(parts, depth):
    for _ in range(depth):
        parts = [json.dumps({"a": text, text[:9]: 4111111111111111}, ensure_ascii=depth == 1) for text in parts]
    assert unsuspected(parts) == []
    assert unsuspected_arguments(parts) == []


@given(known, st.sampled_from(["password", "api key", "note", "a/b"]), st.booleans())
def test_arguments_are_suspected_whichever_way_their_json_is_written(secret, key, is_ascii):
    text = json.dumps({key: secret}, ensure_ascii=is_ascii)
    ways = [text, text.replace("/", "\\/"), text.replace("@", "\\u0040"), text.replace(": ", " :\n ")]
    assert unsuspected_arguments(ways) == []


@given(st.lists(trajectories(), max_size=4, unique_by=lambda run: run.trace_uid), st.data())
def test_a_table_is_redacted_as_each_of_its_runs(items, data):
    said = st.lists(known | texts, max_size=3).map(" ".join)
    runs = [
        run.model_copy(
            update={
                "system": data.draw(said),
                "steps": tuple(one.model_copy(update={"result": data.draw(said)}) for one in run.steps),
            }
        )
        for run in items
    ]
    table, counts = redact_table(to_table(runs))
    alone = [redact_trajectory(run) for run in runs]
    assert {run.trace_uid: run for run in from_table(table)} == {run.trace_uid: run for run, _ in alone}
    assert counts == sum((found for _, found in alone), type(counts)())


def test_a_table_in_chunks_has_the_same_suspects():
    runs = [trajectory(f"test:{k}", steps=(step(), step(1, result=secret))) for k, (_, secret) in enumerate(KNOWN)]
    rows, suspects = suspects_in(to_table(runs))
    assert rows.all()
    assert suspects == suspects_of(runs) == {secret for _, secret in KNOWN}


@needs_shared
@pytest.mark.parametrize("source", ["langfuse-traces", "otel-spans", "who-and-when"])
def test_real_logs_are_redacted_as_run_by_run(source):
    for found in read_files(sorted((SHARED / source).rglob("*.json*")), rule=spread_over()):
        table, counts = redact_table(to_table(found.trajectories))
        alone = [redact_trajectory(run) for run in found.trajectories]
        assert counts == sum((one for _, one in alone), type(counts)())
        key = lambda run: (run.trace_uid, run.content_hash)  # noqa: E731
        assert sorted(from_table(table), key=key) == sorted((run for run, _ in alone), key=key)

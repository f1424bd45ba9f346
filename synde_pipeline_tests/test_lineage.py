"""Lineage is checked on reading (law 6): an artefact of other inputs is refused with found, expected and remedy."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import LineageError, SyndeError
from synde_pipeline.lineage import check_inputs, fresh_header
from synde_pipeline.records import SCHEMA_VERSION
from synde_pipeline.storage import Header, files_hash

NAMES = st.sampled_from(["raw_logs", "memory", "base"])
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


def header(inputs: dict[str, str]) -> Header:
    return Header(artefact="reflections", key="2025-01-03", content_hash="made", inputs=inputs)


def publish(warehouse, artefact: str, content_hash: str, inputs: dict[str, str] | None = None) -> None:
    made = Header(artefact=artefact, key="2025-01-03", content_hash=content_hash, inputs=inputs or {})
    warehouse.publish_table(made, pa.table({"a": [1]}))


@given(st.dictionaries(NAMES, hashes), st.dictionaries(NAMES, hashes))
def test_an_artefact_is_refused_exactly_when_an_expected_input_differs(recorded, expected):
    if all(recorded.get(name) == value for name, value in expected.items()):
        check_inputs(header(recorded), expected)
    else:
        with pytest.raises(LineageError):
            check_inputs(header(recorded), expected)


def test_inputs_that_nobody_asks_about_do_not_matter():
    check_inputs(header({"raw_logs": "a", "old": "b"}), {"raw_logs": "a"})


def test_the_refusal_says_found_expected_and_remedy():
    with pytest.raises(LineageError) as caught:
        check_inputs(header({"raw_logs": "a" * 64}), {"raw_logs": "b" * 64})
    error = caught.value
    assert error.found == "reflections[2025-01-03] was made from raw_logs aaaaaaaaaaaa"
    assert error.expected == "raw_logs bbbbbbbbbbbb, which is in the warehouse now"
    assert error.remedy == "materialise reflections for 2025-01-03 again"
    assert str(error) == f"{error.found}; expected {error.expected}; {error.remedy}"


def test_an_input_that_was_never_recorded_is_called_nothing():
    with pytest.raises(LineageError, match="made from raw_logs nothing"):
        check_inputs(header({}), {"raw_logs": "b"})


def test_a_fresh_artefact_gives_its_header(warehouse):
    publish(warehouse, "raw_logs", "one")
    publish(warehouse, "reflections", "made", {"raw_logs": "one"})
    found = fresh_header(warehouse, "reflections", "2025-01-03", {"raw_logs": "2025-01-03"})
    assert found.content_hash == "made"


def test_an_artefact_is_stale_once_its_input_was_published_anew(warehouse):
    publish(warehouse, "raw_logs", "one")
    publish(warehouse, "reflections", "made", {"raw_logs": "one"})
    publish(warehouse, "raw_logs", "two")
    with pytest.raises(LineageError, match="made from raw_logs one; expected raw_logs two"):
        fresh_header(warehouse, "reflections", "2025-01-03", {"raw_logs": "2025-01-03"})


def test_an_artefact_whose_input_is_gone_is_refused(warehouse):
    publish(warehouse, "reflections", "made", {"raw_logs": "one"})
    with pytest.raises(LineageError, match="expected raw_logs nothing"):
        fresh_header(warehouse, "reflections", "2025-01-03", {"raw_logs": "2025-01-03"})


def test_a_missing_artefact_says_what_to_materialise(warehouse):
    with pytest.raises(LineageError, match=r"reflections\[2025-01-03\] is missing; materialise reflections"):
        fresh_header(warehouse, "reflections", "2025-01-03", {})


def test_a_lineage_error_is_one_of_ours_and_no_usage_error():
    assert issubclass(LineageError, SyndeError)
    assert not issubclass(LineageError, ValueError)


def test_an_artefact_of_a_newer_synde_is_refused(warehouse):
    newer = Header(artefact="a", key="2025-01-01", content_hash="0" * 64, schema_version=SCHEMA_VERSION + 1)
    warehouse.publish_table(newer, pa.table({"x": [1]}))
    with pytest.raises(LineageError, match="newer SynDE"):
        warehouse.read_table("a", "2025-01-01")


def test_a_folder_made_again_with_the_same_content_says_what_it_was_made_from_now(warehouse):
    def publish(made_from: str) -> Path:
        def write(folder: Path) -> None:
            (folder / "weights.txt").write_text("content")
            (folder / "lineage.json").write_text(made_from)

        def describe(folder: Path) -> Header:
            found = files_hash(folder, without=["lineage.json"])
            return Header(artefact="models", key="library-0001", content_hash=found)

        warehouse.publish_folder("models", "library-0001", write, describe)
        return warehouse.folder("models", "library-0001")

    first = publish("a trajectory")
    kept = {path: path.stat().st_mtime_ns for path in first.rglob("*.txt")}
    assert publish("none") == first
    assert (first / "lineage.json").read_text() == "none"
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.txt")} == kept

"""Deltas put together are the whole message, also where bytes of a character come apart."""

from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.records import MemoryItem
from synde_pipeline.serving.upstream import _Whole, with_memory
from synde_pipeline.serving.writing import Deltas


def item(content: str) -> MemoryItem:
    return MemoryItem(
        item_id="i", domain="library", kind="note", scope="", title="t", description="d", content=content, supports=()
    )


@given(st.text("aé☃�\n", max_size=30), st.booleans(), st.data())
def test_deltas_add_up_to_the_message(text, is_call, data):
    tool = "find" if is_call else ""
    deltas, told = Deltas(), _Whole()
    raw = text.encode("utf-8")
    ends = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    for end in ends:
        if delta := deltas.grown(tool, raw[:end].decode("utf-8", "replace")):
            told.take({"choices": [{"delta": delta}]})
    if delta := deltas.grown(tool, text, is_whole=True):
        told.take({"choices": [{"delta": delta}]})
    whole = deltas.message(tool, text)
    found = told.message
    assert (found["content"] or None) == (whole["content"] or None)
    assert found.get("tool_calls") == whole.get("tool_calls")


def test_memory_goes_into_the_system_turn_and_changes_nothing_else():
    talk = [{"role": "user", "content": "hi"}]
    assert with_memory(talk, []) == talk
    new = with_memory(talk, [item("renew first")])
    assert new[0]["role"] == "system"
    assert "renew first" in new[0]["content"]
    assert new[1:] == talk
    told = [{"role": "system", "content": "Be kind."}, *talk]
    first, *rest = with_memory(told, [item("renew first")])
    assert first["content"].startswith("Be kind.")
    assert "renew first" in first["content"]
    assert rest == talk
    parts = [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}, *talk]
    assert with_memory(parts, [item("renew first")])[0]["content"][0] == parts[0]["content"][0]

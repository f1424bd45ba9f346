"""Memory as files: what is exported is read back with the same texts; real playbooks are read whole."""

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import InputError
from synde_pipeline.logs.redact import redact
from synde_pipeline.memory.curate import Bank
from synde_pipeline.memory.playbooks import dumps, loads, read_file
from synde_pipeline.records import MemoryItem
from synde_pipeline_tests.helpers import SHARED

EMPTY = Bank(date(2025, 1, 3), (), 0)
PLAYBOOKS = sorted((SHARED / "ace-appworld" / "experiments" / "playbooks").glob("*.txt"))
TEXTS = ("kind", "scope", "title", "description", "content")

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
awkward = st.sampled_from(
    [
        "```",
        "````text\nx\n````",
        "### a",
        "- kind: pitfall",
        "[shr-00001] x",
        "a\r\nb",
        '"quoted"',
        "a\u2028b",
        " \n# x",
    ]
)
some_text = words | awkward | st.builds("\n".join, st.lists(words | awkward, min_size=2, max_size=4))
spoken = some_text.filter(str.strip)


@st.composite
def items(draw, title=spoken, content=spoken) -> MemoryItem:
    return MemoryItem(
        item_id=draw(st.from_regex(r"[0-9a-f]{16}", fullmatch=True)),
        domain=draw(st.sampled_from(["library", "retail"])),
        kind=draw(st.sampled_from(["strategy", "pitfall", "workflow", "note"])),
        scope=draw(st.sampled_from(["", "tool:renew", "site:zormek"])),
        title=draw(title),
        description=draw(some_text),
        content=draw(content),
        supports=(),
        pinned=draw(st.booleans()),
        helpful=draw(st.integers(0, 9)),
    )


def texts_of(entry) -> tuple:
    return (entry.domain, *(getattr(entry.lesson, name) for name in TEXTS), entry.item_id, entry.is_pinned)


@pytest.mark.parametrize("form", ["markdown", "json"])
@given(st.lists(items(), max_size=5))
def test_what_is_exported_is_read_back_with_the_same_texts(form, found):
    text = dumps(EMPTY, found, form)
    expected = [
        (item.domain, *(getattr(item, name) for name in TEXTS), item.item_id, item.pinned)
        for item in found
    ]  # fmt: skip
    assert sorted(map(texts_of, loads(text, form))) == sorted(expected)


@given(st.lists(items(), max_size=5))
def test_a_playbook_has_one_bullet_for_each_item_and_is_stable_after_one_round(found):
    text = dumps(EMPTY, found, "ace")
    entries = loads(text, "ace")
    assert len(entries) == len(found)
    again = [
        MemoryItem(item_id=f"{k}", domain="x", supports=(), **entry.lesson.model_dump(exclude={"suspect"}))
        for k, entry in enumerate(entries)
    ]
    assert loads(dumps(EMPTY, again, "ace"), "ace") == entries


def test_counters_of_a_playbook_are_words_and_come_out_again():
    text = "## COMMON MISTAKES\n[cms-00007] helpful=4 harmful=1 :: Never guess a card number.\n  Ask for it.\n"
    (entry,) = loads(text, "ace")
    assert entry.lesson.kind == "pitfall"
    assert entry.lesson.content == "Never guess a card number.\n  Ask for it."
    assert entry.lesson.description == "Common mistakes (ACE bullet cms-00007, helpful=4, harmful=1)"
    item = MemoryItem(item_id="a", domain="x", supports=(), helpful=2, **entry.lesson.model_dump(exclude={"suspect"}))
    assert dumps(EMPTY, [item], "ace").strip() == text.replace("helpful=4", "helpful=6").strip()


def test_bullets_that_begin_alike_get_titles_of_their_own():
    same = " ".join(["word"] * 20)
    first, second = loads(f"## A\n[a-1] {same} one\n[a-2] {same} two\n", "ace")
    assert first.lesson.title != second.lesson.title


@pytest.mark.skipif(not PLAYBOOKS, reason=f"no playbooks below {SHARED}")
@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_bullet_of_a_real_playbook_is_read(path: Path):
    raw = path.read_text("utf-8")
    bullets = dict(re.findall(r"^\[([a-z]+-\d+)\] (.*)$", raw, re.MULTILINE))
    entries = read_file(path)
    assert len(entries) == len(re.findall(r"^\[[a-z]+-\d+\]", raw, re.MULTILINE)) >= len(bullets)
    assert {entry.lesson.content for entry in entries} >= {redact(text.rstrip())[0] for text in bullets.values()}
    assert len({(entry.lesson.kind, entry.lesson.title) for entry in entries}) == len(entries)


def test_a_list_of_plain_objects_is_enough():
    (entry,) = loads('[{"title": "Ask", "content": "Ask first.", "domain": "library"}]', "json")
    assert (entry.lesson.kind, entry.lesson.title, entry.domain) == ("strategy", "Ask", "library")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing to see", "no known format"),
        ("<!-- synde memory 1 -->\n", "no lesson"),
        ("<!-- synde memory 1 -->\n### A\n", "ends before the content"),
        ("<!-- synde memory 1 -->\n### A\n```text\nb\n```\nc\n```\n", "fence inside"),
        ('{"items": 3}', "holds no items"),
        ('{"items": [{"title": "a"}]}', "item 1 has no content"),
        ('{"items": [', "no JSON"),
        ('[{"title": "a", "content": "b", "kind": "rumour"}]', "item 1: kind"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(text, says, tmp_path):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_file(path)

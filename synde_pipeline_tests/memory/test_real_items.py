"""What the recorded tau-bench and tau2-bench runs teach: items that were read and found true, and no false ones."""

from datetime import date

import pytest

from synde_pipeline.logs.reading import native_files, read_file, spread_over
from synde_pipeline.logs.redact import redact_trajectory
from synde_pipeline.memory.curate import fold
from synde_pipeline.memory.deltas import deltas_of
from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.records import MemoryItem
from synde_pipeline.reflection.injection import why_suspect
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import SHARED, needs_shared

pytestmark = [needs_shared, pytest.mark.slow]

Items = dict[tuple[str, str], MemoryItem]


@pytest.fixture(scope="module")
def items() -> Items:
    """(domain, title) -> active item; the texts of items do not depend on the embedder but for similar tasks."""
    deltas = [
        delta
        for name in ("tau-bench", "tau2-bench")
        for file in native_files(SHARED / name)
        for item in read_file(file, rule=spread_over()).trajectories
        for delta in deltas_of(reflect(redact_trajectory(item)[0]), item.day)
    ]
    bank = fold(deltas, date(2026, 12, 31), MemoryConfig(embedder="hashing"), HashingEmbedder().embed)
    return {(item.domain, item.title): item for item in bank.items}


@pytest.mark.parametrize(
    ("tool", "state"),
    [
        ("return_delivered_order_items", "delivered"),
        ("exchange_delivered_order_items", "delivered"),
        ("modify_pending_order_items", "pending"),
        ("cancel_pending_order", "pending"),
    ],
)
def test_the_states_in_which_retail_tools_work_are_found(items, tool, state):
    assert items["retail", f"Check status before {tool}"].content.startswith(f"Call {tool} only if status is {state}:")


def test_trials_of_the_same_airline_tasks_show_that_all_reservations_have_to_be_looked_up(items):
    item = items["airline", "Look up all reservations that get_user_details lists, with get_reservation_details"]
    assert item.kind == "strategy"
    assert len(item.task_ids) >= 10


def test_an_error_that_was_mended_by_its_own_number_says_so(items):
    title = "book_reservation: payment amount does not add up, total price is ..., but paid ..."
    assert "Let payment_methods.amount add up to the amount that the error names." in items["airline", title].content


def test_a_workflow_names_its_steps_and_where_arguments_come_from(items):
    content = items["retail", "How to exchange delivered order items"].content
    assert content.startswith(
        "1. find_user_id_by_email or find_user_id_by_name_zip 2. get_user_details (user_id from the result"
    )
    assert "new_item_ids from variants.item_id of step 4" in content


def test_no_item_blames_a_lookup_holds_a_literal_of_a_task_or_reads_like_an_attack(items):
    assert len(items) >= 20
    for item in items.values():
        text = f"{item.title}. {item.description} {item.content}"
        assert not [word for word in text.split() if sum(map(str.isdigit, word)) > 3], text
        assert not item.title.startswith(("Do not call get", "Do not call search", "Do not call find")), text
        assert why_suspect(text) == "", text

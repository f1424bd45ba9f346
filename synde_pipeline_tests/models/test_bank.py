"""Routed cycles end to end on a tiny base: stable groups, adapters trained alone, exact routing, lineage."""

from datetime import timedelta

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from synde_pipeline.base_model import load
from synde_pipeline.errors import LineageError
from synde_pipeline.evaluation.arms import evaluate_cycle
from synde_pipeline.evaluation.due import is_due
from synde_pipeline.evaluation.report import publish
from synde_pipeline.logs.daily import load_all, publish_raw_logs
from synde_pipeline.models.adapters import train_cycle
from synde_pipeline.models.bank import BankRow, candidate_bank, champion_bank, load_bank, rows_of
from synde_pipeline.models.compose import ADAPTERS, Entry, checked_entry, ledger_before
from synde_pipeline.models.grouped import groups_to_train
from synde_pipeline.models.merge import MERGED, cycle_model, fresh_merged, merge_cycle
from synde_pipeline.models.registry import promote, reject
from synde_pipeline.models.route import Router
from synde_pipeline.reflection.daily import publish_reflections
from synde_pipeline.settings import (
    PRESETS,
    BufferConfig,
    EvaluationConfig,
    MemoryConfig,
    PromptConfig,
    Settings,
    TrainingConfig,
)
from synde_pipeline.storage import read_json, write_atomically
from synde_pipeline.training.bank import AdapterBank
from synde_pipeline.training.buffer import freeze_cycles
from synde_pipeline.training.daily import SHARDS, publish_examples, publish_shard
from synde_pipeline.training.groups import groups_of
from synde_pipeline.training.lora import read
from synde_pipeline_tests.helpers import DAY, called, land, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD, REPORT, TRAIN
from synde_pipeline_tests.models_for_tests import pin_tiny, tiny

ROUTED = PRESETS["world"].model_copy(update={"max_steps": 4, "scopes_per_adapter": 2, "batch_size": 2})
SETTINGS = Settings(
    memory=MemoryConfig(embedder="hashing"),
    prompt=PromptConfig(window=256),
    evaluation=EvaluationConfig(min_tasks=2, bootstrap=100),
    training=ROUTED,
)
IDS = torch.randint(8, 300, (1, 9), generator=torch.Generator().manual_seed(0))


def frozen(warehouse, day, *scopes, domain="library", config=SETTINGS):
    """A day of two successful runs in each scope, frozen into a cycle with its shard."""
    name = f"{domain}-{day}"
    runs = [(scope, k) for scope in scopes for k in range(2)]
    items = [
        trajectory(f"{name}:{scope}:{k}", domain=domain, task=TRAIN[k], day=day, scope=scope, steps=called(*GOOD))
        for scope, k in runs
    ]
    land(warehouse, items, name=name)
    publish_raw_logs(warehouse, day)
    publish_reflections(warehouse, day)
    publish_examples(warehouse, day, config)
    (cycle,) = freeze_cycles(warehouse, BufferConfig(threshold=1))[0]
    publish_shard(warehouse, cycle, config)
    return cycle


def trained(warehouse, day, *scopes, **values):
    cycle = frozen(warehouse, day, *scopes, **values)
    train_cycle(warehouse, cycle, values.get("config", SETTINGS).training)
    return cycle, merge_cycle(warehouse, cycle)


@pytest.fixture(autouse=True)
def _pinned(warehouse):
    pin_tiny(warehouse)


def keys(warehouse, cycle):
    table = read_json(warehouse.folder(ADAPTERS, cycle.key) / "bank.json")
    return {row["folder"]: row["key"]["scopes"] for row in table}


# -- groups ---------------------------------------------------------------------------------------------------------


def test_scopes_fill_groups_in_the_order_of_first_claim_and_keep_them(warehouse):
    first = frozen(warehouse, DAY, "site:c", "site:a", "site:b")
    before = groups_of(warehouse, first, 2)
    assert before == {"site:a": 0, "site:b": 0, "site:c": 1}
    frozen(warehouse, DAY, "site:0", domain="archive")  # another domain counts on its own
    second = frozen(warehouse, DAY + timedelta(1), "site:a", "site:aa", "")
    after = groups_of(warehouse, second, 2)
    assert after == {**before, "": 1, "site:aa": 2}
    assert groups_of(warehouse, first, 2) == before
    assert set(groups_of(warehouse, second, 0).values()) == {0}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=12))
@settings(max_examples=30)
def test_a_group_is_trained_if_and_only_if_it_has_a_new_trajectory(drawn):
    numbers = {scope: k // 2 for k, scope in enumerate("abcdef")}
    rows = [{"scope": scope, "is_replay": old, "k": k} for k, (scope, old) in enumerate(drawn)]
    groups = groups_to_train(rows, numbers)
    assert {group.number for group in groups} == {numbers[scope] for scope, old in drawn if not old}
    for group in groups:
        assert group.rows == [row for row in rows if numbers[row["scope"]] == group.number]
        assert set(group.scopes) == {row["scope"] for row in group.rows}


def test_a_routed_shard_replays_all_that_the_touched_groups_were_trained_on(warehouse):
    frozen(warehouse, DAY, "site:a", "site:b", "site:c")
    frozen(warehouse, DAY, "site:a", domain="archive")
    second = frozen(warehouse, DAY + timedelta(1), "site:a")
    rows = warehouse.read_table(SHARDS, second.key).to_pylist()
    old = {row["trace_uid"].split(":", 1)[1] for row in rows if row["is_replay"]}
    assert old == {f"site:{name}:{k}" for name in "ab" for k in range(2)}
    assert all("library" in row["trace_uid"] for row in rows)


# -- training -------------------------------------------------------------------------------------------------------


def test_a_routed_cycle_holds_one_peft_folder_a_group_trained_from_scratch_on_the_base(warehouse):
    first, _ = trained(warehouse, DAY, "site:a", "site:b", "site:c")
    assert keys(warehouse, first) == {"g00": ["site:a", "site:b"], "g01": ["site:c"]}
    second, _ = trained(warehouse, DAY + timedelta(1), "site:d")
    assert keys(warehouse, second) == {"g01": ["site:c", "site:d"]}
    header = warehouse.header(ADAPTERS, second.key)
    assert header.inputs["on_top_of"] == "base"
    assert [group["folder"] for group in header.info["groups"]] == ["g01"]
    folder = warehouse.folder(ADAPTERS, second.key) / "g01"
    theirs = PeftModel.from_pretrained(tiny(), str(folder))
    model = tiny()
    bank = AdapterBank.of(model, [read(folder)])
    with bank.routed([0]):
        assert torch.allclose(model(IDS).logits, theirs(IDS).logits, atol=1e-6)
    bank.remove()
    assert not torch.allclose(theirs(IDS).logits, model(IDS).logits, atol=1e-4)


def test_training_again_with_unchanged_inputs_trains_nothing_and_from_nothing_gives_the_same_bytes(warehouse):
    cycle, merged = trained(warehouse, DAY, "site:a", "site:c", "site:b")
    header, is_new = train_cycle(warehouse, cycle, ROUTED)
    assert not is_new
    assert merge_cycle(warehouse, cycle) == merged
    (warehouse.path(ADAPTERS, cycle.key) / "current.json").unlink()
    again, is_new = train_cycle(warehouse, cycle, ROUTED)
    assert is_new
    assert again == header


def test_a_shard_that_was_packed_by_another_rule_is_refused(warehouse):
    cycle = frozen(warehouse, DAY, "site:a")
    with pytest.raises(LineageError, match="was made from replay 2x32 newest; expected replay 3x32 newest"):
        train_cycle(warehouse, cycle, ROUTED.model_copy(update={"scopes_per_adapter": 3}))


def test_sequential_and_routed_cycles_of_a_domain_leave_each_other_alone(warehouse):
    sequential = SETTINGS.model_copy(update={"training": TrainingConfig(composition="sequential")})
    plain, _ = trained(warehouse, DAY, "site:a", config=sequential)
    routed, _ = trained(warehouse, DAY + timedelta(1), "site:b")
    third, merged = trained(warehouse, DAY + timedelta(2), "site:a", config=sequential)
    base = load(warehouse)
    assert [entry.cycle for entry in ledger_before(warehouse, third, base.hash)] == [plain.key]
    assert [row["cycle"] for row in merged.info["adapters"]] == [plain.key, third.key]
    assert [row.cycle for row in candidate_bank(warehouse, routed, base.hash)] == [routed.key]
    for cycle in (plain, routed, third):
        checked_entry(warehouse, cycle, base.hash, ledger_before(warehouse, cycle, base.hash))
        fresh_merged(warehouse, cycle, base.hash)


# -- what is served -------------------------------------------------------------------------------------------------


def served(rows):
    return {place: (row.cycle[-1], row.folder) for row in rows for place in row.scopes}


def test_each_scope_is_served_by_the_newest_accepted_adapter_that_learned_it(warehouse):
    base = load(warehouse).hash
    first, model_1 = trained(warehouse, DAY, "site:a", "site:b", "site:c")
    promote(warehouse, first, model_1, "passed")
    second, model_2 = trained(warehouse, DAY + timedelta(1), "site:d")
    expected = {"site:a": ("1", "g00"), "site:b": ("1", "g00"), "site:c": ("2", "g01"), "site:d": ("2", "g01")}
    assert served(candidate_bank(warehouse, second, base)) == expected
    reject(warehouse, second, model_2, "failed")
    assert served(champion_bank(warehouse, base)) == {
        "site:a": ("1", "g00"),
        "site:b": ("1", "g00"),
        "site:c": ("1", "g01"),
    }
    third, model_3 = trained(warehouse, DAY + timedelta(2), "site:a")
    assert served(candidate_bank(warehouse, third, base)) == {
        "site:a": ("3", "g00"),
        "site:b": ("3", "g00"),
        "site:c": ("1", "g01"),
    }
    promote(warehouse, third, model_3, "passed")
    assert champion_bank(warehouse, base) == candidate_bank(warehouse, third, base)
    assert champion_bank(warehouse, base, ["archive"]) == []
    assert read_json(warehouse.folder(MERGED, third.key) / "bank.json")[0]["scopes"] == ["site:c"]


def test_an_undecided_cycle_serves_nobody_but_its_own_candidate(warehouse):
    trained(warehouse, DAY, "site:a")
    second, _ = trained(warehouse, DAY + timedelta(1), "site:b", "site:c")
    rows = candidate_bank(warehouse, second, load(warehouse).hash)
    assert {row.cycle for row in rows} == {second.key}
    assert champion_bank(warehouse, load(warehouse).hash) == []


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), max_size=5))
@settings(max_examples=30)
def test_newest_wins_whatever_the_history(warehouse, history):
    entries = []
    for number, scopes in enumerate(history):
        key = f"library-{number:04d}"
        folder = warehouse.path(ADAPTERS, key) / ("0" * 16)
        table = [{"folder": "g00", "key": {"domain": "library", "scopes": scopes}}]
        write_atomically(folder / "bank.json", str(table).replace("'", '"'))
        header = f'{{"artefact": "adapters", "key": "{key}", "content_hash": "{"0" * 64}"}}'
        write_atomically(warehouse.path(ADAPTERS, key) / "current.json", header)
        entries.append(Entry(key, "0" * 64))
    rows = rows_of(warehouse, entries)
    newest = {scope: f"library-{number:04d}" for number, scopes in enumerate(history) for scope in scopes}
    assert {scope: row.cycle for row in rows for scope in row.scopes} == newest
    assert [row.cycle for row in rows] == sorted(row.cycle for row in rows)
    router = Router.of(row.places for row in rows)
    assert all(rows[router.route("library", scope).index].cycle == cycle for scope, cycle in newest.items())


def test_routing_is_by_exact_scope_and_unknown_places_get_the_base():
    router = Router.of([[("web", "site:a"), ("web", "")], [("code", "site:a")]])
    assert [router.route(*place).index for place in (("web", "site:a"), ("web", ""), ("code", "site:a"))] == [0, 0, 1]
    assert [router.route(*place).index for place in (("web", "site:b"), ("code", ""), ("math", "site:a"))] == [-1] * 3
    with pytest.raises(LineageError, match="both claim scope 'site:a' of web"):
        Router.of([[("web", "site:a")], [("web", "site:a")]])


def test_a_loaded_bank_gives_each_row_its_own_adapter_and_strangers_the_base(warehouse):
    cycle, _ = trained(warehouse, DAY, "site:a", "site:b", "site:c")
    base = load(warehouse)
    plain = base.model(IDS).logits
    bank = load_bank(warehouse, base.model, candidate_bank(warehouse, cycle, base.hash))
    places = [("library", "site:c"), ("library", "site:x"), ("library", "site:a"), ("archive", "site:a")]
    with torch.inference_mode(), bank.routed(places):
        found = base.model(IDS.expand(4, -1)).logits
    folder = warehouse.folder(ADAPTERS, cycle.key)
    for k, group in ((0, "g01"), (2, "g00")):
        theirs = PeftModel.from_pretrained(tiny(), str(folder / group))
        assert torch.allclose(found[k], theirs(IDS).logits[0], atol=1e-5)
    assert torch.allclose(found[1], plain[0], atol=1e-6)
    assert torch.equal(found[1], found[3])


def test_a_bank_without_adapters_is_the_base(warehouse):
    model = tiny()
    bank = load_bank(warehouse, model, [])
    with bank.routed([("library", "site:a")]):
        assert torch.equal(model(IDS).logits, tiny()(IDS).logits)


def test_an_adapter_that_is_not_the_one_of_the_row_is_refused(warehouse):
    cycle, _ = trained(warehouse, DAY, "site:a")
    row = BankRow(cycle.key, "f" * 64, "g00", "library", ("site:a",))
    with pytest.raises(LineageError, match="which was accepted"):
        load_bank(warehouse, tiny(), [row])


# -- the whole cycle ------------------------------------------------------------------------------------------------


def test_a_routed_cycle_is_evaluated_with_its_bank_and_goes_stale_with_its_shard(warehouse):
    scopes = ("site:a", "site:b", "site:new")
    held_out = [
        trajectory(f"r:{k}", task=REPORT[k], day=DAY, scope=scope, steps=called(*GOOD))
        for k, scope in enumerate(scopes)
    ]
    land(warehouse, held_out, name="report")
    cycle, merged = trained(warehouse, DAY, "site:a", "site:b")
    assert is_due(warehouse, cycle)
    report = evaluate_cycle(warehouse, cycle, load_all(warehouse), SETTINGS)
    publish(warehouse, cycle.key, report, {MERGED: merged.content_hash})
    assert not is_due(warehouse, cycle)
    assert report["model"]["adapters"] == merged.info["adapters"]
    nll = {arm: [task["arms"][arm]["nll"] for task in report["tasks"]] for arm in ("none", "weights")}
    assert [a == pytest.approx(b) for a, b in zip(nll["none"], nll["weights"], strict=True)] == [False, False, True]
    base = load(warehouse)
    with cycle_model(warehouse, cycle, base).at(("library", "site:a")):
        assert not torch.allclose(base.model(IDS).logits, tiny()(IDS).logits, atol=1e-4)
    other = SETTINGS.model_copy(update={"prompt": PromptConfig(window=256, max_action=8, max_header=16)})
    publish_shard(warehouse, cycle, other)
    with pytest.raises(LineageError, match="again"):
        fresh_merged(warehouse, cycle, base.hash)
    assert is_due(warehouse, cycle)

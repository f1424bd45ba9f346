"""Groups of scopes are given once and kept; their adapters are trained again on the newest of their own logs only."""

import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.memory.retrieve import Memory
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.records import split_of
from synde_pipeline.reflection.rules import reflect
from synde_pipeline.settings import PRESETS, MemoryConfig, Settings, TrainingConfig
from synde_pipeline.storage import Header
from synde_pipeline.training.cycles import ARTEFACT, claimed_examples, cycle_of
from synde_pipeline.training.examples import EXAMPLES, examples_of
from synde_pipeline.training.groups import groups_of, replay_of_groups, replay_rule
from synde_pipeline.training.shards import build_shard
from synde_pipeline_tests.helpers import DAY, called, trajectory
from synde_pipeline_tests.memory.test_curate import GOOD
from synde_pipeline_tests.models_for_tests import tokenizer

TASKS = {
    domain: next(f"t{k}" for k in range(100) if split_of(f"test:{domain}:t{k}") == "train")
    for domain in ("library", "archive")
}
A, B, C, D = (f"site:{name}" for name in "abcd")


def rows_of(uid, scope, *, day=DAY, domain="library"):
    item = trajectory(uid, domain=domain, task=TASKS[domain], day=day, scope=scope, steps=called(*GOOD))
    return examples_of(item, reflect(item), TrainingConfig())


@dataclass
class Claims:
    """Freezes cycles of given scopes, as `freeze_cycles` lays them out; two runs a scope."""

    warehouse: object
    n: int = 0

    def freeze(self, *scopes, domain="library", number=None):
        self.n += 1
        day = DAY + timedelta(self.n)
        runs = [(scope, k) for scope in scopes for k in range(2)]
        rows = [row for scope, k in runs for row in rows_of(f"t{self.n}:{scope}:{k}", scope, day=day, domain=domain)]
        number = number or self.n
        info = {"domain": domain, "number": number, "sequence": self.n, "last_day": str(day), "claims": []}
        header = Header(artefact=ARTEFACT, key=f"{domain}-{number:04d}", content_hash=f"{self.n:064d}", info=info)
        self.warehouse.publish_table(header, pa.Table.from_pylist(rows, schema=EXAMPLES))
        return cycle_of(header)


# -- groups ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.sets(st.sampled_from(["", A, B, C, D]), min_size=1, max_size=3), max_size=4), st.integers(0, 3))
@settings(max_examples=20)
def test_a_scope_keeps_its_group_for_ever_and_groups_fill_in_the_order_of_first_claim(warehouse, history, size):
    shutil.rmtree(warehouse.root, ignore_errors=True)
    claims, before, order, seen = Claims(warehouse), {}, [], []
    for scopes in history:
        cycle = claims.freeze(*sorted(scopes, reverse=True))
        order += sorted(scopes - set(order))
        now = groups_of(warehouse, cycle, size)
        assert before.items() <= now.items()
        assert list(now) == order
        assert list(now.values()) == [k // size if size else 0 for k in range(len(order))]
        before = now
        seen.append((cycle, now))
    assert all(groups_of(warehouse, cycle, size) == then for cycle, then in seen)  # trained again, it sees the same


def test_a_cycle_knows_no_scope_of_later_cycles_or_of_other_domains(warehouse):
    claims = Claims(warehouse)
    first = claims.freeze(B, number=1)
    claims.freeze(A, domain="archive", number=1)
    second = claims.freeze(A, number=2)
    assert groups_of(warehouse, first, 1) == {B: 0}
    assert groups_of(warehouse, second, 1) == {B: 0, A: 1}


# -- replay ---------------------------------------------------------------------------------------------------------

GROUPS = {A: 0, B: 0, C: 1, "": 1}


def earlier_of(*runs, domain="library"):
    """Earlier trajectories from (uid, scope, days after the first)."""
    return {uid: rows_of(uid, scope, day=DAY + timedelta(k), domain=domain) for uid, scope, k in runs}


NEW = {"t:n": rows_of("t:n", A, day=DAY + timedelta(9))}


def test_only_the_newest_runs_of_each_scope_of_a_touched_group_are_replayed():
    # Uids in another order than days: what is kept is the newest, not the last by name.
    earlier = earlier_of(("t:z", A, 0), ("t:y", A, 1), ("t:x", A, 2), ("t:w", B, 0), ("t:v", C, 5))
    assert replay_of_groups(GROUPS, NEW, earlier, "library", per_scope=2) == ["t:w", "t:x", "t:y"]
    assert replay_of_groups(GROUPS, NEW, earlier, "library", per_scope=1) == ["t:w", "t:x"]
    assert replay_of_groups(GROUPS, NEW, earlier, "library", per_scope=9) == ["t:w", "t:x", "t:y", "t:z"]


def test_the_same_scope_of_another_domain_is_left_alone():
    earlier = earlier_of(("t:x", A, 0)) | earlier_of(("t:y", A, 1), ("t:z", B, 2), domain="archive")
    assert replay_of_groups(GROUPS, NEW, earlier, "library", per_scope=1) == ["t:x"]


def test_a_group_without_a_new_run_is_not_trained_again():
    earlier = earlier_of(("t:x", C, 0), ("t:y", "", 0), ("t:z", D, 0))
    assert replay_of_groups(GROUPS, NEW, earlier, "library", per_scope=9) == []
    assert replay_of_groups(GROUPS, {}, earlier_of(("t:x", A, 0)), "library", per_scope=9) == []


RUNS = st.lists(
    st.tuples(st.integers(0, 99).map("t:{}".format), st.sampled_from(list(GROUPS)), st.integers(0, 3)),
    max_size=16,
    unique_by=lambda run: run[0],
)


@given(RUNS, st.lists(st.sampled_from(list(GROUPS)), max_size=2), st.integers(1, 3))
def test_replay_is_the_newest_per_scope_whatever_the_history(runs, new_scopes, per_scope):
    new = {f"n:{k}": rows_of(f"n:{k}", scope) for k, scope in enumerate(new_scopes)}
    drawn = replay_of_groups(GROUPS, new, earlier_of(*runs), "library", per_scope=per_scope)
    assert drawn == sorted(set(drawn))
    assert drawn == replay_of_groups(GROUPS, new, earlier_of(*reversed(runs)), "library", per_scope=per_scope)
    touched = {GROUPS[scope] for scope in new_scopes}
    scopes = {uid: scope for uid, scope, _ in runs}
    days = {uid: day for uid, _, day in runs}
    n_there = Counter(scope for _, scope, _ in runs if GROUPS[scope] in touched)
    n_drawn = Counter(scopes[uid] for uid in drawn)
    assert n_drawn == {scope: min(n, per_scope) for scope, n in n_there.items()}
    for uid, scope, day in runs:
        if scope in n_there and uid not in drawn:
            assert all(days[other] >= day for other in drawn if scopes[other] == scope)


def test_a_shard_of_a_routed_cycle_replays_as_its_settings_say(warehouse):
    claims = Claims(warehouse)
    claims.freeze(A, B, C, number=1)
    claims.freeze(A, D, number=2)
    claims.freeze(A, domain="archive", number=1)
    last = claims.freeze(B, number=3)
    newest = {f"t2:{A}:1", f"t1:{B}:1"}
    for per_scope, expected in ((1, newest), (3, newest | {f"t2:{A}:0", f"t1:{A}:1", f"t1:{B}:0"})):
        changed = {"scopes_per_adapter": 2, "replay_per_scope": per_scope, "views": 1}
        config = Settings(training=PRESETS["world"].model_copy(update=changed))
        encoder, memory = PromptEncoder(tokenizer(), config.prompt), Memory.of([], MemoryConfig(embedder="hashing"))
        shard = build_shard(warehouse, last, memory, encoder, config)
        assert set(shard.replayed) == expected
        assert {row["trace_uid"] for row in shard.rows if row["is_replay"]} == expected
        new = {row["metadata"]["trajectory_id"] for row in claimed_examples(warehouse, last.key)}
        assert {row["trace_uid"] for row in shard.rows if not row["is_replay"]} == new


def test_what_decides_about_replay_is_in_the_rule_that_lineage_keeps():
    routed = PRESETS["world"]
    changed = [routed.model_copy(update={name: 7}) for name in ("scopes_per_adapter", "replay_per_scope")]
    rules = [replay_rule(config) for config in (routed, *changed, PRESETS["default"])]
    assert len(set(rules)) == 4

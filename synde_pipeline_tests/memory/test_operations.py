"""What each operation does to an item: tags count tasks, people have the last word, sources can be shut out."""

from datetime import UTC, datetime, timedelta
from itertools import chain

from synde_pipeline.memory.curate import Bank, fold
from synde_pipeline.memory.embed import HashingEmbedder
from synde_pipeline.records import Delta, MemoryItem
from synde_pipeline.settings import MemoryConfig
from synde_pipeline_tests.helpers import DAY

CONFIG = MemoryConfig(embedder="hashing")
EMBED = HashingEmbedder().embed
LAST = DAY + timedelta(30)


def row(op: str, task: int, *, uid: str = "", day: int = 0, outcome: str = "success", **values) -> Delta:
    when = DAY + timedelta(day)
    about = {"domain": "library", "task_id": f"test:library:t{task}", "trace_uid": uid or f"test:{op}{task}-{outcome}"}
    return Delta(op=op, day=when, effective_day=when, outcome=outcome, **about, **values)


def says(task: int, title: str = "pay the fine first", *, kind: str = "pitfall", **values) -> Delta:
    texts = {"title": title, "description": "when due", "content": "pay, then renew"}
    return row("ADD", task, **({"kind": kind, "scope": "tool:renew"} | texts | values))


def edit(op: str, target: str, value: str, *, day: int = 0, hour: int = 9, **texts) -> Delta:
    when = DAY + timedelta(day)
    at = datetime(when.year, when.month, when.day, hour, tzinfo=UTC)
    about = {"domain": "library", "task_id": "", "trace_uid": f"human:{op}{value}{day}{hour}", "outcome": "unknown"}
    return Delta(
        op=op, day=when, effective_day=when, source="human", at=at, target=target, value=value, **about, **texts
    )


TWO = [says(1), says(2)]


def bank_of(*rows: Delta, config: MemoryConfig = CONFIG, as_of=LAST) -> Bank:
    return fold(rows, as_of, config, EMBED)


def only(*rows: Delta, **words) -> MemoryItem:
    bank = bank_of(*rows, **words)
    (item,) = chain(bank.items, bank.others)
    return item


ID = only(*TWO).item_id


def tags(
    n_good: int, n_bad: int, *, first: int = 10, target: str = ID, day: int = 1, source: str = "test"
) -> list[Delta]:
    outcomes = ["success"] * n_good + ["failure"] * n_bad
    verdicts = {"success": "helpful", "failure": "harmful"}
    return [
        row(
            "TAG",
            first + k,
            uid=f"{source}:{first + k}",
            day=day,
            outcome=outcome,
            target=target,
            value=verdicts[outcome],
        )
        for k, outcome in enumerate(outcomes)
    ]


def runs(
    n_good: int, n_bad: int, *, shown: tuple[str, ...] = (), source: str = "test", first: int = 100
) -> list[Delta]:
    outcomes = ["success"] * n_good + ["failure"] * n_bad
    return [
        row("EVIDENCE", first + k, uid=f"{source}:e{first + k}", outcome=outcome, content="renew", shown=shown)
        for k, outcome in enumerate(outcomes)
    ]


# -- tags -----------------------------------------------------------------------------------------------------------


def test_tags_count_tasks_not_runs_and_any_version():
    item = only(*TWO, *tags(2, 1), *tags(1, 0, target=f"{ID}@0badcafe"), *tags(1, 0, day=2))
    assert (item.helpful, item.harmful, item.status) == (2, 1, "active")


def test_at_a_place_a_tag_of_another_option_says_nothing():
    there = {"kind": "strategy", "scope": "site:zormek", "title": "nav", "description": ""}
    tried = [says(task, content="browse", **there) for task in (1, 2)]
    item = only(*tried)
    same, other = (tags(0, 1, target=f"{item.item_id}@{version}") for version in (item.version, "0badcafe"))
    assert only(*tried, *same).harmful == only(*tried, *tags(0, 1, target=item.item_id)).harmful == 1
    assert only(*tried, *other).harmful == 0


def test_a_tag_of_an_unknown_item_is_kept_and_counted():
    bank = bank_of(*TWO, *tags(2, 1, target="gone@0badcafe"))
    assert bank.orphans == (("gone", 3),)
    assert bank.n_deltas == 5


def test_harm_retires_only_where_runs_without_the_item_did_better():
    shown = tags(2, 12)
    assert only(*TWO, *shown, *runs(2, 12)).status == "active"
    retired = only(*TWO, *shown, *runs(12, 2))
    assert (retired.status, retired.item_id) == ("retired", ID)
    assert "2 of 14 tasks succeeded with it, 12 of 14 without" in retired.reason


def test_runs_that_were_shown_the_item_are_no_comparison():
    assert only(*TWO, *tags(2, 12), *runs(12, 2, shown=(f"{ID}@0badcafe",))).status == "active"


def test_one_tasks_failure_never_retires_however_well_others_do():
    assert only(*TWO, *tags(0, 1), *runs(400, 0)).status == "active"
    assert only(*TWO, *runs(400, 0)).status == "active"


# -- people ---------------------------------------------------------------------------------------------------------


def test_the_last_word_of_a_person_counts_whatever_the_order_of_arrival():
    words = [edit("UPDATE", ID, "text", hour=hour, content=f"at {hour}") for hour in (8, 12, 10)]
    assert only(*TWO, *words).content == "at 12"
    assert only(*TWO, *words).title == "pay the fine first"
    assert only(*TWO, *words, edit("UPDATE", ID, "text", day=1, hour=1, content="next day")).content == "next day"
    later = [edit("UPDATE", ID, "text", day=1, content="tomorrow")]
    assert "2 of 2" in only(*TWO, *later, as_of=DAY).content


def test_new_words_are_judged_by_what_came_after_them():
    harmed = [*TWO, *tags(0, 14, day=1), *runs(14, 0)]
    assert only(*harmed).status == "retired"
    mended = only(*harmed, edit("UPDATE", ID, "text", day=2, content="mended"), *tags(1, 0, first=50, day=2))
    assert (mended.status, mended.helpful, mended.harmful) == ("active", 1, 0)


def test_what_a_person_retired_or_quarantined_comes_back_when_restored():
    for value, status in (("retire", "retired"), ("quarantine", "quarantined")):
        ended = edit("SUPERSEDE", ID, value, day=1)
        assert only(*TWO, ended).status == status
        assert only(*TWO, ended, as_of=DAY).status == "active"
        assert only(*TWO, ended, edit("UPDATE", ID, "restore", day=2)).status == "active"
        assert only(*TWO, edit("UPDATE", ID, "restore", day=0), ended).status == status


def test_a_pinned_item_is_neither_retired_nor_archived_nor_waits_for_support():
    pin = edit("UPDATE", ID, "pin")
    harmed = [*TWO, *tags(0, 14), *runs(14, 0)]
    for rows, config in ((harmed, CONFIG), (TWO, MemoryConfig(max_tokens=1)), (TWO[:1], CONFIG)):
        assert only(*rows, config=config).status != "active"
        assert (only(*rows, pin, config=config).status, only(*rows, pin, config=config).pinned) == ("active", True)
        assert only(*rows, pin, edit("UPDATE", ID, "unpin", day=1), config=config).status != "active"


def test_a_persons_own_item_is_active_at_once_and_its_words_stand_before_those_of_runs():
    own = says(0, content="in my words").model_copy(update={"task_id": "", "source": "human", "trace_uid": "human:1"})
    assert only(own).status == "active"
    both = only(*TWO, own)
    assert (both.item_id, both.content, len(both.supports)) == (ID, "in my words", 3)


def test_an_item_with_a_successor_retires_and_points_to_it():
    other = [says(1, "look at the loan before"), says(2, "look at the loan before")]
    (successor,) = bank_of(*other).items
    bank = bank_of(*TWO, *other, edit("SUPERSEDE", ID, successor.item_id))
    assert [item.item_id for item in bank.items] == [successor.item_id]
    (old,) = bank.others
    assert (old.status, old.reason) == ("retired", f"superseded with {successor.item_id} by a person")
    lost = bank_of(*TWO, edit("SUPERSEDE", ID, "nobody"))
    assert (lost.items[0].item_id, lost.orphans) == (ID, (("nobody", 1),))


def test_a_machine_changes_an_item_when_enough_tasks_call_for_it():
    calls = [row("UPDATE", task, target=ID, value="text", content="better") for task in (1, 2)]
    assert "pay, then renew" in only(*TWO, calls[0]).content
    assert only(*TWO, *calls).content == "better"
    assert only(*TWO, *calls, edit("UPDATE", ID, "text", content="best")).content == "best"


# -- sources --------------------------------------------------------------------------------------------------------

DUBIOUS = MemoryConfig(embedder="hashing", trust={"dubious": 0.2})


def test_what_only_suspects_say_is_quarantined_and_lends_no_support():
    bad = [says(task, suspect="it gives orders") for task in (1, 2)]
    item = only(*bad)
    assert (item.status, item.reason) == ("quarantined", "it reads like an attack: it gives orders")
    assert only(*bad, config=MemoryConfig(guards=False)).status == "active"
    assert only(*bad, edit("UPDATE", ID, "restore")).status == "active"
    half = only(says(3), *bad)
    assert (half.status, half.reason) == ("candidate", "1 of 2 tasks support it")


def test_a_source_that_is_not_trusted_pushes_nothing_up_and_takes_nothing_down():
    theirs = [says(task, uid=f"dubious:{task}") for task in (3, 4)]
    assert only(*theirs, config=DUBIOUS).status == "quarantined"
    assert only(says(1), *theirs, config=DUBIOUS).status == "candidate"
    attack = [*theirs, *tags(0, 30, source="dubious"), *runs(400, 0, source="dubious")]
    item = only(*TWO, *attack, config=DUBIOUS)
    assert (item.status, item.harmful, len(item.supports)) == ("active", 0, 2)
    assert only(*TWO, *attack).status == "retired"


def test_a_person_shuts_out_a_source_and_lets_it_in_again_with_guards_or_without():
    theirs = [says(task, uid=f"web:{task}") for task in (1, 2)]
    out, back = edit("SUPERSEDE", "source:web", "quarantine"), edit("UPDATE", "source:web", "restore", day=1)
    for guards in (True, False):
        config = MemoryConfig(embedder="hashing", guards=guards)
        assert only(*theirs, out, config=config).reason == "its source web is quarantined"
        assert only(*theirs, out, back, config=config).status == "active"
    assert bank_of(*theirs, out).orphans == ()


# -- merging --------------------------------------------------------------------------------------------------------


def test_paraphrases_reach_the_threshold_together_and_their_tags_add_up():
    alike = MemoryConfig(embedder="hashing", same=0.6)
    rows = [says(1, "pay the fine first"), says(2, "first pay the fine")]
    item = only(*rows, config=alike)
    assert (item.status, len(item.task_ids), len(item.merged)) == ("active", 2, 1)
    assert item.content == "pay, then renew (2 of 2 tasks)"
    counted = only(*rows, *tags(1, 1, target=item.item_id), *tags(2, 0, first=30, target=item.merged[0]), config=alike)
    assert (counted.helpful, counted.harmful) == (3, 1)
    assert only(*rows, edit("SUPERSEDE", item.merged[0], "retire"), config=alike).status == "retired"

"""The notes benchmark: its worlds against independent counts, its thresholds, a whole small run, its page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from synde_pipeline.memory.notes import RuleLearner, infer
from synde_pipeline.settings import load
from synde_pipeline.studies.creatures import (
    ATTRIBUTES,
    CHANCE,
    HARD,
    KINDS,
    N_HELD_OUT,
    WORDING,
    World,
    conditions_of,
    nearest_examples,
    words_of_example,
)
from synde_pipeline.studies.notes_asked import N_SAMPLES as N_ASKED_SAMPLES
from synde_pipeline.studies.notes_asked import asked, claim_of, title_of
from synde_pipeline.studies.notes_benchmark import TITLE, Benchmark
from synde_pipeline.studies.notes_claims import claims_of, difference
from synde_pipeline.studies.notes_page import render, text_grid
from synde_pipeline.studies.notes_runs import Cell, Curve, read, run
from synde_pipeline.studies.verdicts import against
from synde_pipeline_tests.helpers import synde_json
from synde_pipeline_tests.llm_server import serving


@pytest.fixture(scope="module")
def world() -> World:
    return World.of(3, n_samples=800)


@pytest.fixture(scope="module")
def report() -> dict:
    return Benchmark(range(2), 160).report()


def words(*values: tuple[int, int]) -> str:
    return " and ".join(sorted(ATTRIBUTES[k][value] for k, value in values))


def perfect(world: World) -> str:
    """Notes that say the whole table."""
    a, b = world.reads
    lines = [
        f"Creatures with {words((a, x), (b, y))} are {KINDS[world.table[2 * x + y]]}." for x in (0, 1) for y in (0, 1)
    ]
    return "\n".join(lines)


def test_each_kind_is_as_frequent_and_held_out_creatures_are_never_shown(world):
    for one in (world, World.of(3, HARD, 800)):
        assert sorted(np.bincount(one.table)) == [len(one.table) // 4] * 4
        shown = {tuple(row) for row in one.samples}
        held_out = {tuple(row) for row in one.held_out}
        assert len(held_out) == N_HELD_OUT
        assert not shown & held_out


def test_a_share_of_labels_is_wrong_and_more_noise_adds_to_the_wrong_ones(world):
    truth = world.kinds(world.samples)
    assert (world.observed(0.0) == truth).all()
    wrong = [world.observed(noise) != truth for noise in (0.1, 0.3)]
    assert wrong[0].mean() == pytest.approx(0.1, abs=0.04)
    assert wrong[1].mean() == pytest.approx(0.3, abs=0.05)
    assert (wrong[0] <= wrong[1]).all()


def test_accuracy_and_quality_of_known_notes(world):
    assert world.accuracy("") == CHANCE
    assert world.accuracy(perfect(world)) == 1.0
    assert world.quality(perfect(world)) == {
        "precision": 1.0,
        "recall": 1.0,
        "said": 1.0,
        "words": 36.0,
        "sentences": 4.0,
    }
    first = perfect(world).splitlines()[0]
    assert world.quality(first)["recall"] == 0.25
    half = f"Creatures with {words((world.reads[0], 0))} are {KINDS[world.table[0]]}."
    assert world.quality(half) == {"precision": 0.0, "recall": 0.0, "said": 0.5, "words": 6.0, "sentences": 1.0}
    made_up = f"Creatures with golden fur are {KINDS[0]}."
    assert world.accuracy(made_up) == CHANCE


def test_accuracy_is_what_the_reader_of_the_notes_gets_right(world):
    notes = run(world, Cell(0.5, 4, 0.2, carry=1.0)).notes
    rules = WORDING.read(notes)
    right = []
    for creature, kind in zip(world.held_out, world.kinds(world.held_out), strict=True):
        said = infer(rules, conditions_of(creature))
        right.append(CHANCE if said is None else float(said == KINDS[kind]))
    assert world.accuracy(notes) == pytest.approx(np.mean(right))


def test_nearest_examples_vote(world):
    truth = world.kinds(world.held_out)
    nearest = []
    for creature in world.held_out:
        distance = (world.samples != creature).sum(axis=1)
        # The last of the nearest samples.
        nearest.append(world.kinds(world.samples)[np.flatnonzero(distance == distance.min())[-1]])
    assert nearest_examples(world, 0.0, 1) == pytest.approx((np.array(nearest) == truth).mean())
    assert words_of_example() == len((", ".join(pair[0] for pair in ATTRIBUTES) + ": Borin").split())


def test_the_measures_of_a_curve_are_those_of_its_second_half():
    curve = Curve((0.3, 0.9, 0.5, 0.7), (True,) * 4, "")
    assert curve.numbers() == pytest.approx(
        {"accuracy": 0.6, "deviation": 0.1, "drawdown": 0.4, "gain": 0.0, "late_gain": 0.2}
    )


@pytest.mark.parametrize(
    ("accuracies", "changes", "signature"),
    [
        ((0.3, 0.5, 0.5, 0.5), (True, True, False, False), "frozen"),
        ((0.3, 1.0, 1.0, 1.0), (True, True, False, False), "none"),
        ((0.9, 0.9, 0.5, 0.7), (True, True, True, True), "variance"),
        ((0.9, 0.9, 0.8, 0.8), (True, True, True, True), "decline"),
        ((0.5, 0.7, 0.7, 0.7), (True, True, True, True), "plateau"),
        ((0.5, 0.6, 0.7, 0.76), (True, True, True, True), "none"),
    ],
)
def test_signatures_follow_from_thresholds(accuracies, changes, signature):
    assert Curve(accuracies, changes, "").signature() == signature


def test_runs_are_deterministic_and_full_momentum_stops_changing(world):
    cell = Cell(1.0, 1, 0.2)
    first, again = run(world, cell), run(World.of(3, n_samples=800), cell)
    assert first == again
    assert not any(first.changes[len(first.changes) // 2 :])
    assert first.numbers()["deviation"] == 0.0


@pytest.mark.parametrize("cell", [Cell(0.5, 4, 0.2), Cell(0.5, 1, 0.2, carry=0.9, max_words=140)])
def test_counting_once_for_all_settings_changes_nothing(cell):
    small = World.of(5, n_samples=200)
    assert read(small, cell, RuleLearner(WORDING, cell.config)) == run(small, cell)


def test_success_alone_teaches_less_than_labels(world):
    labelled = run(world, Cell(0.5, 4, 0.0)).numbers()["accuracy"]
    assert CHANCE < run(world, Cell(0.5, 4, 0.0, feedback="success")).numbers()["accuracy"] < labelled


def test_differences_are_paired_by_seed():
    def row(momentum: float, noise: float, *values: float) -> dict:
        return {"momentum": momentum, "noise": noise, "n": 2, "by_seed": {"accuracy": list(values)}}

    rows = [row(0.0, 0.1, 0.1, 0.2), row(0.5, 0.1, 0.4, 0.4), row(0.0, 0.2, 0.0, 0.0), row(0.5, 0.2, 0.1, 0.0)]
    assert difference(rows, "accuracy", {"momentum": 0.5}, {"momentum": 0.0}) == pytest.approx([0.2, 0.1])


def test_the_page_has_its_honest_title_and_plots_and_escapes(report):
    claims = claims_of(report, "synde study notes")
    assert len({claim.id for claim in claims}) == len(claims) == 19
    found = report | {"claims": [claim.model_dump() for claim in claims], "notes": "<script>alert(1)</script>"}
    page = render(found)
    assert TITLE in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 10
    assert 'src="http' not in page
    assert len(text_grid(report).splitlines()) == 1 + 4 * 3
    assert "momentum half" in text_grid(report)


@pytest.mark.slow
def test_the_quick_study_shows_what_the_document_claims(home):
    found = synde_json("study", "notes", "--preset", "quick", home=home)
    verdicts = {claim["id"]: claim["verdict"] for claim in found["claims"]}
    assert verdicts["notes.momentum"] == "holds"
    assert verdicts["notes.accumulation"] == "holds"
    assert verdicts["notes.evidence_accuracy"] == "holds"
    folder = Path(found["folders"][0]["folder"])
    assert {path.name for path in folder.iterdir()} == {"claims.json", "report.json", "report.html"}
    assert json.loads((folder / "claims.json").read_text("utf-8")) == found["claims"]
    again = synde_json("study", "notes", "--preset", "quick", home=home)
    assert again == found, "equal seeds give equal bytes, and so the same folder"


# -- the row with a language model -----------------------------------------------------------------------------------


def keeper(body: dict) -> str:
    """A model that copies the first conditions and kinds that it sees into the asked form."""
    text = body["messages"][1]["content"]
    seen = re.findall(r"^- (.+): (\w+)$", text, re.MULTILINE)
    said = [f"Creatures with {first.split(', ')[0]} are {kind}." for first, kind in seen[:3]]
    return json.dumps({"sentences": said or re.findall(r"Creatures with .+\.", text)})


def test_without_an_endpoint_the_row_says_so_and_the_title_stays(monkeypatch):
    monkeypatch.delenv("SYNDE_LLM_URL", raising=False)
    found = asked(range(2), load())
    claim = claim_of(found, "synde study notes")
    assert (claim.measured, claim.error, claim.n, claim.verdict) == (None, None, 0, "not run")
    assert claim.what == "no endpoint"
    assert title_of(found, TITLE) == TITLE
    assert "not comparable to 58.67 %" in TITLE


def test_a_real_endpoint_keeps_notes_once_within_the_budget_and_the_title_follows(monkeypatch, report):
    with serving(keeper) as server:
        monkeypatch.setenv("SYNDE_LLM_URL", server.url)
        monkeypatch.setenv("SYNDE_LLM_MODEL", "small")
        found = asked(range(2), load())
        n_asked = len(server.asked)
        assert n_asked == 2 * (N_ASKED_SAMPLES // 10 + 3)
        assert asked(range(2), load()) == found
        assert len(server.asked) == n_asked
        monkeypatch.setenv("SYNDE_LLM_MAX_TOKENS", "3000")
        monkeypatch.setenv("SYNDE_LLM_MODEL", "dear")
        poor = asked(range(2), load())
        assert claim_of(poor, "").what.startswith("the budget of 3000 tokens is used up")
        monkeypatch.setenv("SYNDE_NO_LLM", "1")
        assert "was not asked yet" in claim_of(asked(range(2), load()), "").what
    claim = claim_of(found, "synde study notes")
    assert claim.n == 2
    assert claim.measured == pytest.approx(np.mean(found["by_seed"]["accuracy"]) - CHANCE)
    assert claim.verdict == against(claim.error)
    title = title_of(found, TITLE)
    assert "small in one row, on 120 samples of 2 seeds" in title
    page = render(report | {"claims": [], "asked": found, "title": title})
    assert "small kept the notes of 120 samples" in page
    assert "Not run: no endpoint" in render(report | {"claims": [], "asked": {"model": "", "why": "no endpoint"}})

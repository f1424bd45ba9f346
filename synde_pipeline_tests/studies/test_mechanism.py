"""The mechanism study: its arithmetic against independent references, its tokens against the model, its verdicts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synde_pipeline.base_model import ARTEFACT, folder_hash, load_folder
from synde_pipeline.models.implicit import Record, blocks_of, implicit_update, patched, recorded
from synde_pipeline.prompting import PromptEncoder
from synde_pipeline.settings import PromptConfig, Settings, SimulationConfig
from synde_pipeline.simulation.agent import Agent, Assignment
from synde_pipeline.simulation.demo import EMBEDDED_BASE
from synde_pipeline.simulation.gates import GATES, hints
from synde_pipeline.simulation.tasks import held_out_tasks, places
from synde_pipeline.storage import Header
from synde_pipeline.studies.mechanism.adapters import recipes, train_adapters
from synde_pipeline.studies.mechanism.claims import tried as all_tried
from synde_pipeline.studies.mechanism.families import family_exactness, random_model
from synde_pipeline.studies.mechanism.linear import Linear, measured
from synde_pipeline.studies.mechanism.measure import FEW_RANKS
from synde_pipeline.studies.mechanism.page import show
from synde_pipeline.studies.mechanism.pairs import Batch, Pair
from synde_pipeline.studies.mechanism.reading import SETTINGS, kept
from synde_pipeline.studies.mechanism.small import Size
from synde_pipeline.studies.mechanism.small import measured as measured_small
from synde_pipeline.studies.mechanism.static import (
    distance,
    least_squares,
    mean_of_updates,
    static_patch,
    summed,
)
from synde_pipeline.studies.mechanism.study import assembled
from synde_pipeline.studies.mechanism.summary import summary
from synde_pipeline.studies.mechanism.tasks import (
    FAMILIES,
    N_EXAMPLES,
    PATTERNS,
    REGRESSION,
    InContextModel,
    Tasks,
    layout,
)
from synde_pipeline.studies.mechanism.tried import Condition, Tried
from synde_pipeline.studies.study import StudyRun, render, run_study


def rows(seed: int, n: int = 40, n_in: int = 7, n_out: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    read = torch.randn(n, n_in, generator=chance, dtype=torch.float64)
    wanted = read @ torch.randn(n_in, n_out, generator=chance, dtype=torch.float64)
    return read, wanted + torch.randn(n, n_out, generator=chance, dtype=torch.float64)


# -- static patches ------------------------------------------------------------------------------------------------


def test_without_a_ridge_a_patch_is_the_least_squares_solution_of_numpy():
    read, wanted = rows(0)
    expected = np.linalg.lstsq(read.numpy(), wanted.numpy(), rcond=None)[0].T
    np.testing.assert_allclose(least_squares(None, ridge=0.0)(read, wanted).numpy(), expected, atol=1e-10)


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_patch_of_rank_k_is_the_best_one(seed, rank):
    read, wanted = rows(seed)
    patch = least_squares(rank, ridge=0.0)(read, wanted).numpy()
    assert np.linalg.matrix_rank(patch, tol=1e-8) == rank
    # Eckart and Young on the fitted values: what any matrix of this rank must leave over
    fitted = read.numpy() @ np.linalg.lstsq(read.numpy(), wanted.numpy(), rcond=None)[0]
    left = np.linalg.svd(fitted, compute_uv=False)[rank:]
    unfitted = np.linalg.norm(wanted.numpy() - fitted) ** 2
    assert np.linalg.norm(wanted.numpy() - read.numpy() @ patch.T) ** 2 == pytest.approx(unfitted + (left**2).sum())


def test_the_mean_of_updates_is_the_mean_of_each_querys_own():
    read, wanted = rows(1, n=3)
    expected = sum(torch.outer(t, z / (z @ z)) for z, t in zip(read, wanted, strict=True)) / 3
    torch.testing.assert_close(mean_of_updates(read, wanted), expected)


@pytest.mark.parametrize("name", ["GPT-NeoX, sequential", "Llama", "GPT-2"])
@pytest.mark.parametrize("target", ["mlp", "attention"])
def test_a_static_patch_of_one_query_replaces_its_context(name, target):
    model = random_model(name, dtype=torch.float64)
    both, place = torch.arange(20)[None], torch.tensor([[19]])
    names = [module for block in blocks_of(model) for module in block.names]

    @torch.no_grad()
    def alone():
        return model(input_ids=both[:, -1:], position_ids=place).logits[0, -1]

    def read() -> Record:
        with recorded(model, names) as record:
            alone()
        return record.at((slice(None), -1))

    with recorded(model, names) as record, torch.no_grad():
        wanted = model(input_ids=both).logits[0, -1]
    update = static_patch(model, read, record.at((slice(None), -1)), target, mean_of_updates)
    without = alone()
    with patched(model, update):
        found = alone()
    assert (without - wanted).abs().max() > 1
    assert (found - wanted).abs().max() < 1e-5
    if target == "mlp":  # one query is all queries: its static patch is its implicit update
        for key, change in implicit_update(model, both[0, :-1], both[0, -1:]).items():
            torch.testing.assert_close(change, update[key], atol=1e-6, rtol=1e-5)


def test_distances_are_those_of_the_dense_matrices():
    one = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([1.0])}
    other = {"a": torch.tensor([[0.0, 4.0]])}
    found = distance(one, other)
    assert found["frobenius"] == pytest.approx((9 + 16 + 1) ** 0.5)
    assert (found["cosine"], found["norm"], found["other_norm"]) == (0.0, pytest.approx(10**0.5), 4.0)
    assert distance(summed(one, other), one)["frobenius"] == pytest.approx(4.0)


# -- linear attention ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.2, 1.0])
def test_linear_attention_takes_the_gradient_step_that_autograd_takes(eta):
    case = Linear.of(3, eta)
    w = case.w0.clone().requires_grad_(True)
    ((case.x @ w - case.y).pow(2).mean() / 2).backward()
    torch.testing.assert_close(case.gradient_step(), -eta * w.grad)
    query = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(case.added(query), case.gradient_step())
    found = measured(3, eta)
    assert max(found["least_squares"], found["aligned"], found["additive"]) < 1e-12
    assert min(found["mean"], found["random_a"], found["converged"]) > 0.1


# -- small models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_tasks_are_solvable_from_their_context(family):
    tasks = family.draw(200, 30, torch.Generator().manual_seed(0))
    if family is REGRESSION:
        solution = torch.linalg.lstsq(tasks.shown, tasks.answers).solution
        assert family.errors(tasks.asked @ solution, tasks.targets).mean() < 1e-6
        assert family.errors(torch.zeros_like(tasks.targets), tasks.targets).mean() == pytest.approx(1)
    else:
        nearest = torch.cdist(tasks.asked, tasks.shown).argmin(-1)
        found = torch.gather(tasks.answers, 1, nearest[..., None].expand(-1, -1, family.n_out))
        assert family.errors(found, tasks.targets).mean() < 0.02


def test_in_training_a_query_sees_the_examples_and_no_other_query():
    model = InContextModel(PATTERNS, seed=0).eval()
    tasks = PATTERNS.draw(2, 17, torch.Generator().manual_seed(1))
    places, mask = layout()
    tokens = torch.cat([model.examples(tasks.shown, tasks.answers), model.queries(tasks.asked)], 1)
    with torch.no_grad():
        laid_out = model.lm(inputs_embeds=tokens, attention_mask=mask, position_ids=places).logits[:, N_EXAMPLES:]
        behind = model.answer(model.contexts(tasks)).view(2, 17, -1)
        alone = model.answer(model.queries(tasks.asked[:, :1]), torch.tensor([N_EXAMPLES]))
    torch.testing.assert_close(laid_out[:, 1:], behind[:, 1:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(laid_out[:, 0], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("target", ["mlp", "attention"])
def test_an_adapter_is_the_same_in_company_and_alone_and_learns(target):
    model = InContextModel(REGRESSION, seed=0).eval().requires_grad_(False)
    tasks = REGRESSION.draw(3, 80, torch.Generator().manual_seed(2))
    recipe = recipes(8)[0]
    (together,) = train_adapters(model, tasks, recipe, target, (5,))
    parts = (tasks.shown[:1], tasks.answers[:1], tasks.asked[:1], tasks.targets[:1])
    (alone,) = train_adapters(model, Tasks(*parts), recipe, target, (5,))
    assert distance(together[0], alone[0])["relative"] < 1e-3
    assert {".mlp." in name for name in together[0]} == {target == "mlp"}
    assert all(torch.linalg.matrix_rank(change) == 1 for change in together[0].values())

    def loss(update) -> float:
        with patched(model.lm, update), torch.no_grad():
            found = model.answer(model.queries(tasks.shown[0])[:, None], torch.tensor([N_EXAMPLES]))
        return float(REGRESSION.losses(found, tasks.answers[0]).mean())

    assert loss(together[0]) < loss({})


# -- the embedded base ---------------------------------------------------------------------------------------------


def test_tokens_of_a_run_are_found_again_behind_its_memory():
    header = Header(artefact=ARTEFACT, key="", content_hash=folder_hash(EMBEDDED_BASE))
    base = load_folder(EMBEDDED_BASE, header)
    encoder = PromptEncoder(base.tokenizer, PromptConfig())
    where = [place for place in places(SimulationConfig(places=8), 1) if place.world.domain == "web"]
    tasks = held_out_tasks(where, "report", 4, 1)
    shown = [hints(task, GATES[1], 0) for task in tasks]
    runs = Agent(base.model, base.tokenizer, encoder).act(
        [Assignment(task, items) for task, items in zip(tasks, shown, strict=True)]
    )
    pairs = [Pair.of(encoder, run, items) for run, items in zip(runs, shown, strict=True)]
    batch = Batch(pairs)
    assert torch.equal(batch.without[batch.rows], batch.with_memory[batch.rows_in_context])
    words = base.tokenizer.decode(batch.answers.tolist())
    right = {turn.arguments for run in runs for turn in run.turns if turn.success and turn.tool != "answer"}
    assert right
    assert all(option in words for option in right)
    for in_context in (True, False):  # padded in a batch, or each run by itself
        together = batch.predicted(base.model, in_context=in_context)
        each = [Batch([pair]).predicted(base.model, in_context=in_context) for pair in pairs]
        torch.testing.assert_close(together, torch.cat(each), atol=1e-4, rtol=1e-4)
    nats = -together.gather(1, batch.answers[:, None]).mean()
    known = -batch.predicted(base.model, in_context=True).gather(1, batch.answers[:, None]).mean()
    assert known < nats  # memory tells what cannot be known without it


# -- verdicts ------------------------------------------------------------------------------------------------------


def claim(*groups: list[float], limit: float = 0.95, **knobs) -> Tried:
    return Tried("x", "s", "c", [Condition(str(k), values) for k, values in enumerate(groups)], limit, **knobs)


@pytest.mark.parametrize(
    ("tried", "verdict"),
    [
        (claim([0.98, 0.99, 1.0]), "holds"),
        (claim([0.98, 0.99, 1.0], [0.1, 0.2, 0.1]), "holds under conditions"),
        (claim([0.5, 0.6, 0.5], [0.1, 0.2, 0.1]), "does not hold"),
        (claim([0.8, 0.95, 1.0], [0.1, 0.2, 0.1]), "not shown"),
        (claim([0.99]), "not shown"),  # nothing is known of one value's uncertainty
        (claim([1e-7, 3e-7], limit=1e-4, is_upper=True, is_exact=True), "holds exactly"),
        (claim([2e-3, 3e-3], limit=1e-4, is_upper=True, is_exact=True), "does not hold"),
        (claim([1e-7, 3e-3], limit=1e-4, is_upper=True, is_exact=True), "holds under conditions"),
        (claim([3.0, 60.0, 4.0], limit=0.01, is_upper=True), "not shown"),  # the interval reaches below zero ...
        (claim([3.0, 60.0, 4.0], limit=0.01, is_upper=True, is_identity=True), "does not hold"),  # ... no distance does
        (claim([1e-7], [3e-3], limit=1e-4, is_upper=True, is_exact=True), "holds under conditions"),
    ],
)
def test_a_verdict_follows_from_intervals_and_limit(tried, verdict):
    assert tried.measured()["verdict"] == verdict


def test_a_share_is_a_ratio_of_means_over_the_places_of_a_seed():
    seeds = [{"without": [{"error": 1.0}, {"error": 3.0}], "in context": [{"error": 0.0}, {"error": 1.0}]}] * 3
    half = kept(seeds, lambda _: [{"error": 0.5}, {"error": 2.0}])
    assert half == [pytest.approx(0.5)] * 3
    assert kept(seeds, lambda seed: seed["without"]) == [0.0] * 3
    assert kept(seeds[:1], lambda _: [{"error": 0.5}, {"error": 3.0}]) == [0.5, 0.0]  # few seeds: by place


# -- the whole -----------------------------------------------------------------------------------------------------


def test_whatever_was_measured_becomes_claims_tables_and_a_page(tmp_path):
    name = "GPT-NeoX, parallel"
    found = {
        "families": {name: [family_exactness(name, seed) for seed in (1, 2, 3)]},
        "linear": [measured(seed, 0.5) for seed in range(8)],
        "linear regression/1": measured_small(
            REGRESSION, 1, Size(n_steps=25, n_tasks=2, n_queries=64, adapter_steps=2, ranks=FEW_RANKS)
        ),
    }
    report = assembled(found)
    tried, tables = all_tried(report), summary(report)
    claims = {one.id: one.measured() for one in tried}
    assert len(claims) == len(tried)
    assert claims["exact"]["verdict"] == claims["rank"]["verdict"] == "holds exactly"
    assert claims["first_matrix"]["measured"] == pytest.approx(1, abs=1e-4)  # in parallel blocks it does nothing at all
    assert claims["linear_converged"]["verdict"] == "does not hold"
    assert claims["recipe.regression"]["measured"] == pytest.approx(0, abs=0.1)
    assert [row["rank"] for row in tables["settings"][SETTINGS[0]]["patches"]][:2] == [1, 8]
    run = StudyRun("mechanism", "quick", tmp_path, Settings(home=tmp_path), lambda *_: None)
    show(run, tables, [row for one in tried for row in one.rows()])
    page = render(run, [run.claim(one.id, one.source, one.claim, **one.measured()) for one in tried])
    assert page.count("<svg") == 2
    assert "trained on the examples, mlp" in page


@pytest.mark.slow
def test_the_quick_study_runs_and_keeps_its_exact_claims(tmp_path):
    found, header = run_study(Settings(home=tmp_path), "mechanism", lambda *_: None, preset="quick")
    claims = {one.id.removeprefix("mechanism."): one for one in found}
    assert claims["exact"].verdict == claims["rank"].verdict == claims["linear_exact"].verdict == "holds exactly"
    assert claims["one_update"].verdict != "holds exactly"
    assert {"rank1.regression", "rank1.matching", "rank1.base"} <= set(claims)
    assert header.counts == {"claims": len(claims)}

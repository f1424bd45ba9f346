"""The real `dagster dev`: a 60-day backfill, a cycle that the running sensor trains, and both as a browser shows them.

One server serves all tests here. SYNDE_SCREENSHOTS names a folder that keeps the screenshots.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from synde_pipeline.defs.automation import DAILY_ASSETS
from synde_pipeline.defs.instance import PID_TAG
from synde_pipeline.models.registry import champion
from synde_pipeline.settings import SETTINGS_FILE
from synde_pipeline.storage import Warehouse
from synde_pipeline_tests.defs.dev_server import DevServer, dev_server, wait_until
from synde_pipeline_tests.defs.small import days_from, freeze_two_cycles, listing, logs_of
from synde_pipeline_tests.defs.test_graph import EDGES
from synde_pipeline_tests.helpers import land

pytestmark = pytest.mark.slow

DAYS = days_from(date(2025, 1, 1), 60)
CYCLE = "library-0001"
DAILY = [asset.key.to_user_string() for asset in DAILY_ASSETS]
SCREEN: Any = {"width": 1680, "height": 1000}
MARKDOWN_SHOWN_INLINE = 900
"""Characters; Dagster 1.13 hides longer markdown behind a button (800 was shown, 1,000 was not)."""


@dataclass
class Lab:
    """A server, its warehouse, and the backfill that filled it."""

    server: DevServer
    warehouse: Warehouse
    backfill_id: str


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("daemon")
    warehouse = Warehouse(home / "warehouse")
    land(warehouse, logs_of(DAYS, per_day=2))
    knobs = {"SYNDE_PRETRAIN_STEPS": "5", "SYNDE_CYCLE_THRESHOLD": "20"}
    # No candidate stays so near to the base: what a refusal looks like is asked for here.
    (home / SETTINGS_FILE).write_text('{"gate": {"max_kl": 1e-9}}', "utf-8")
    with dev_server(home, home / "dev.log", **knobs) as server:
        yield Lab(server, warehouse, server.backfill(DAILY, DAYS))


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Lab:
    """The lab after the running sensor has trained the cycle that the buffer froze."""
    lab.server.materialize("training_buffer")
    wait_until(lambda: "SUCCESS" in [run["status"] for run in _cycle_runs(lab)], f"cycle {CYCLE} is trained")
    return lab


def _cycle_runs(lab: Lab) -> list[dict[str, Any]]:
    runs = lab.server.runs(synde__cycle=CYCLE)
    assert [run for run in runs if run["status"] in ("FAILURE", "CANCELED")] == []
    return runs


def test_a_backfill_of_sixty_days_takes_a_few_runs_and_publishes_every_day(lab: Lab):
    runs = lab.server.runs(dagster__backfill=lab.backfill_id)
    print(f"{len(DAYS)} days of {len(DAILY)} assets: {len(runs)} runs")  # noqa: T201 - a number to look at with -s
    assert len(runs) <= 3
    for artefact in DAILY:
        assert lab.warehouse.keys(artefact) == [str(day) for day in DAYS]
    found = lab.server.materializations("raw_logs")
    assert {one["partition"] for one in found} == {str(day) for day in DAYS}


def test_the_running_sensor_trains_a_frozen_cycle_exactly_once(trained: Lab):
    runs = _cycle_runs(trained)
    print(f"cycle {CYCLE}: {len(runs)} runs")  # noqa: T201 - a number to look at with -s
    assert [(run["status"], run["jobName"]) for run in runs] == [("SUCCESS", "training_cycle")]
    assert trained.warehouse.keys("eval_reports") == [CYCLE]


def test_a_preview_of_the_sensor_writes_nothing(trained: Lab):
    before = listing(trained.warehouse.root)
    result = trained.server.preview("cycle_sensor")
    assert (result["error"], result["skipReason"]) == (None, "no frozen cycle waits for training")
    assert listing(trained.warehouse.root) == before


def test_a_cycle_that_a_person_runs_again_trains_nothing(trained: Lab):
    adapter = trained.warehouse.header("adapters", CYCLE)
    first = next(run["id"] for run in _cycle_runs(trained) if run["jobName"] == "training_cycle")
    trained.server.execute_again(first)
    assert trained.server.materializations("adapters")[0]["trained"]["boolValue"] is False
    assert trained.warehouse.header("adapters", CYCLE) == adapter


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH: install it to see the UI as a person does")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport=SCREEN)
        page.set_default_timeout(120_000)
        yield page
        browser.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("SYNDE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_lineage_page_names_every_asset(trained: Lab, page: Any, shots: Path):
    page.goto(f"{trained.server.url}/asset-groups")
    page.get_by_text("evaluation").first.wait_for()
    page.wait_for_timeout(3000)  # the graph glides into place
    page.screenshot(path=shots / "lineage-groups.png")
    page.set_viewport_size({"width": 1680, "height": 2600})  # what lies outside is not drawn
    page.keyboard.press("Alt+e")
    for name in EDGES:
        page.get_by_text(name.rpartition("/")[-1], exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=shots / "lineage.png")
    page.set_viewport_size(SCREEN)


def test_the_eval_report_shows_its_plot_inline(trained: Lab, page: Any, shots: Path):
    markdown = trained.server.materializations("eval_reports")[0]["plot"]["mdStr"]
    print(f"the plot is {len(markdown)} characters of markdown")  # noqa: T201 - a number to look at with -s
    assert len(markdown) <= MARKDOWN_SHOWN_INLINE
    page.goto(f"{trained.server.url}/assets/eval_reports?view=partitions&partition={CYCLE}")
    plot = page.locator("img[alt=arms]").first
    plot.scroll_into_view_if_needed()
    plot.wait_for(state="visible")
    drawn = plot.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
    page.screenshot(path=shots / "eval-report.png")
    plot.screenshot(path=shots / "eval-report-plot.png")
    assert min(drawn) > 0


def test_a_merged_models_adapters_are_a_table(trained: Lab, page: Any, shots: Path):
    page.goto(f"{trained.server.url}/assets/merged_models?view=partitions&partition={CYCLE}")
    page.get_by_text("adapter_versions").first.scroll_into_view_if_needed()
    page.screenshot(path=shots / "merged-model.png")
    unfold = page.get_by_text("Show table", exact=False)
    if unfold.count():
        unfold.first.click()
    (held,) = trained.warehouse.header("merged_models", CYCLE).info["adapters"]
    page.get_by_text(held["adapter"][:16], exact=True).first.wait_for()
    page.screenshot(path=shots / "merged-model-table.png")


def test_a_candidate_that_did_not_pass_is_a_check_with_its_reason(trained: Lab, page: Any, shots: Path):
    (decision,) = champion(trained.warehouse).history
    assert not decision.accepted
    page.goto(f"{trained.server.url}/assets/promoted_model?view=checks&checkDetail=candidate_passed_the_gate")
    page.get_by_text("candidate_passed_the_gate").first.wait_for()
    page.get_by_text(decision.reason[:40]).first.wait_for()
    page.wait_for_timeout(500)
    page.screenshot(path=shots / "gate-check.png")


def test_a_cycle_whose_server_was_killed_is_trained_after_a_restart(home: Path, warehouse: Warehouse, tmp_path: Path):
    oldest, _ = freeze_two_cycles(warehouse)
    log, knobs = tmp_path / "dev.log", {"SYNDE_PRETRAIN_STEPS": "5"}

    def statuses(server: DevServer) -> list[str]:
        return [run["status"] for run in server.runs(synde__cycle=oldest.key)]

    def is_executing(server: DevServer) -> bool:
        tags = [tag["key"] for run in server.runs(synde__cycle=oldest.key) for tag in run["tags"]]
        return statuses(server) == ["STARTED"] and PID_TAG in tags

    with dev_server(home, log, **knobs) as server:
        wait_until(lambda: is_executing(server), "the cycle is under way")
        server.kill()
    with dev_server(home, log, **knobs) as server:
        wait_until(lambda: "SUCCESS" in statuses(server), "the cycle is trained")
        assert statuses(server) == ["SUCCESS", "FAILURE"]
    assert oldest.key in warehouse.keys("eval_reports")

"""A real `dagster dev` on a home of its own: UI, daemon and code server, spoken to over GraphQL."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

from synde_pipeline.defs.instance import write_instance_config
from synde_pipeline.settings import Settings
from synde_pipeline_tests.killing import hear_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 600
"""How long a wait may take on a loaded machine before it counts as never."""

_LOCATION = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    __typename ... on PartitionBackfill { status error { message } } } }"""
_LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }"""
_AGAIN = """mutation($params: ReexecutionParams!) { launchPipelineReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }"""
_PREVIEW = """mutation($selector: SensorSelector!) { sensorDryRun(selectorData: $selector, cursor: null) {
    ... on DryRunInstigationTick { evaluationResult { skipReason runRequests { runKey } error { message } } } } }"""
_RUNS = """query($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) {
    ... on Runs { results { id status jobName tags { key value } } } } }"""
_MATERIALIZATIONS = """query($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    assetMaterializations { partition metadataEntries { label
        ... on MarkdownMetadataEntry { mdStr } ... on BoolMetadataEntry { boolValue } } } } } }"""


class DevServer:
    """A running `dagster dev`."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = process

    def kill(self) -> None:
        """What a power cut does: nothing of it, nor of the runs it started, gets to say a last word."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ask(self, query: str, **variables: Any) -> Any:
        """The only field of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer
        (value,) = answer["data"].values()
        return value

    def _repository(self) -> dict[str, str]:
        (node,) = self.ask(_LOCATION)["nodes"]
        return {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"]}

    def backfill(self, assets: Sequence[str], days: Sequence[Any]) -> str:
        """Launch a backfill and wait for its end; returns its id."""
        keys = [{"path": [name]} for name in assets]
        params = {"assetSelection": keys, "partitionNames": [str(day) for day in days], "tags": []}
        launched = self.ask(_BACKFILL, params=params)
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

        def ended() -> bool:
            found = self.ask(_BACKFILL_STATUS, id=launched["backfillId"])
            assert found["status"] not in ("FAILED", "CANCELED", "COMPLETED_FAILED"), found
            return found["status"] == "COMPLETED_SUCCESS"

        wait_until(ended, "the backfill ends")
        return launched["backfillId"]

    def materialize(self, asset: str) -> None:
        """Launch one unpartitioned asset and wait for its success."""
        selector = {"jobName": "__ASSET_JOB", "assetSelection": [{"path": [asset]}], **self._repository()}
        self._wait_for(self.ask(_LAUNCH, params={"selector": selector, "runConfigData": {}, "mode": "default"}))

    def execute_again(self, run_id: str) -> None:
        """What "Re-execute all" in the UI does; waits for its success."""
        self._wait_for(self.ask(_AGAIN, params={"parentRunId": run_id, "strategy": "ALL_STEPS"}))

    def preview(self, sensor: str) -> dict[str, Any]:
        """What "Preview tick result" in the UI does."""
        return self.ask(_PREVIEW, selector={"sensorName": sensor, **self._repository()})["evaluationResult"]

    def _wait_for(self, launched: dict[str, Any]) -> None:
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["id"]

        def ended() -> bool:
            status = next(run["status"] for run in self.runs() if run["id"] == run_id)
            assert status not in ("FAILURE", "CANCELED"), status
            return status == "SUCCESS"

        wait_until(ended, f"run {run_id} ends")

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Runs that carry these tags (`__` reads as `/`), newest first."""
        wanted = [{"key": name.replace("__", "/"), "value": value} for name, value in tags.items()]
        return self.ask(_RUNS, tags=wanted)["results"]

    def materializations(self, asset: str) -> list[dict[str, Any]]:
        """Partition and metadata (label -> entry) of an asset's materialisations, newest first."""
        found = self.ask(_MATERIALIZATIONS, asset={"path": [asset]})["assetMaterializations"]
        return [
            {"partition": one["partition"], **{entry["label"]: entry for entry in one["metadataEntries"]}}
            for one in found
        ]


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"still waiting after {PATIENCE_S} s until {what}"
        time.sleep(1)


@contextmanager
def dev_server(home: Path, log: Path, **env: str) -> Iterator[DevServer]:
    """Start `dagster dev` on a home; it is stopped with everything it started, whatever happens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dagster_home = write_instance_config(Settings(home=home))
    words = ["-m", "dagster", "dev", "-m", "synde_pipeline.definitions", "-h", "127.0.0.1", "-p", str(port)]
    names = {"SYNDE_HOME": str(home), "DAGSTER_HOME": str(dagster_home), "SYNDE_EMBEDDER": "hashing", **env}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *words],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **names},
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )
    try:
        server = DevServer(f"http://127.0.0.1:{port}", process)
        wait_until(lambda: _answers(server, process, log), "dagster dev answers")
        yield server
    finally:
        _stop(process)


def _answers(server: DevServer, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text("utf-8")[-4000:]
    try:
        return bool(server.ask(_LOCATION)["nodes"])
    except (URLError, ConnectionError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C first, as a person would; then whatever is left of its session."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            print("dagster dev did not stop on Ctrl-C")  # noqa: T201 - pytest shows it beside a failure
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()

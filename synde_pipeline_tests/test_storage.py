"""The warehouse: whole versions or none, even under SIGKILL; equal content is equal bytes; errors say what to do."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synde_pipeline.errors import LineageError
from synde_pipeline.storage import Header, Warehouse, files_hash, read_json, rows_hash, write_atomically

ROOT = Path(__file__).resolve().parents[1]


def table_of(version: int) -> tuple[Header, pa.Table]:
    """Version n of a table: a thousand rows that all say n."""
    rows = [{"version": version, "row": k} for k in range(1000)]
    return Header(artefact="things", key="2025-01-03", content_hash=rows_hash(rows)), pa.Table.from_pylist(rows)


def fill(folder: Path, version: int) -> None:
    """Version n of a folder: three files, two deeper, that all say n."""
    for k in range(3):
        path = folder / ("deep" if k else ".") / f"{k}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{version}\n" * 200, "utf-8")


def publish(warehouse: Warehouse, version: int) -> None:
    warehouse.publish_table(*table_of(version))
    publish_folder(warehouse, version)


def publish_folder(warehouse: Warehouse, version: int) -> None:
    warehouse.publish_folder("models", "library-0001", lambda folder: fill(folder, version), described)


def described(folder: Path) -> Header:
    return Header(artefact="models", key="library-0001", content_hash=files_hash(folder))


def version_of_table(warehouse: Warehouse) -> int:
    """The one version that the published table holds; fails when it is mixed, torn or not what its header says."""
    rows = warehouse.read_table("things", "2025-01-03").to_pylist()
    assert warehouse.header("things", "2025-01-03").content_hash == rows_hash(rows)
    (version,) = {row["version"] for row in rows}
    assert len(rows) == 1000
    return version


def version_of_folder(warehouse: Warehouse) -> int:
    folder = warehouse.folder("models", "library-0001")
    assert warehouse.header("models", "library-0001").content_hash == files_hash(folder)
    texts = [path.read_text("utf-8") for path in folder.rglob("*.txt")]
    (version,) = {int(text.split()[0]) for text in texts}
    assert len(texts) == 3
    return version


# -- all or nothing (law 3) ------------------------------------------------------------------------------------


def kill_while_publishing(root: Path, n_kills: int) -> None:
    """Let a process publish versions 0, 1, 2, 0, ... in a loop and kill it at a random instant, again and again."""
    warehouse = Warehouse(root)
    for _ in range(n_kills):
        command = [sys.executable, "-m", "synde_pipeline_tests.test_storage", str(root)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"published once\n"
            time.sleep(random.uniform(0, 0.1))  # at random: every run of the suite tries other instants
            child.kill()
        assert version_of_table(warehouse) in range(3)
        assert version_of_folder(warehouse) in range(3)


def test_a_kill_while_publishing_leaves_a_whole_version(tmp_path):
    kill_while_publishing(tmp_path, 4)


@pytest.mark.slow
def test_twenty_kills_while_publishing_leave_a_whole_version_each_time(tmp_path):
    kill_while_publishing(tmp_path, 20)


def test_killed_at_each_of_its_file_operations_publishing_leaves_a_whole_version_and_may_be_repeated(tmp_path):
    command = [sys.executable, "-m", "synde_pipeline_tests.test_storage", str(tmp_path), "everywhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_what_a_kill_left_behind_is_removed_by_the_next_publishing(tmp_path):
    kill_while_publishing(tmp_path, 1)
    warehouse = Warehouse(tmp_path)
    publish(warehouse, 7)
    names = [path.name for path in warehouse.path("models", "library-0001").iterdir()]
    assert sorted(names) == sorted(["current.json", warehouse.folder("models", "library-0001").name])


def test_a_failing_write_leaves_the_old_version_and_no_litter(tmp_path):
    warehouse = Warehouse(tmp_path)
    publish(warehouse, 1)

    def torn(folder: Path) -> None:
        fill(folder, 2)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        warehouse.publish_folder("models", "library-0001", torn, described)
    assert version_of_folder(warehouse) == 1
    assert not list(tmp_path.rglob(".tmp-*"))


def test_old_versions_are_removed_after_the_switch_and_may_come_back(tmp_path):
    warehouse = Warehouse(tmp_path)
    for version in (1, 2, 1, 1):
        publish(warehouse, version)
        assert (version_of_table(warehouse), version_of_folder(warehouse)) == (version, version)
        assert len([path for path in warehouse.path("models", "library-0001").iterdir() if path.is_dir()]) == 1


def test_an_artefact_without_a_key_does_not_sweep_away_its_partitions(tmp_path):
    warehouse = Warehouse(tmp_path)
    publish(warehouse, 1)
    whole = lambda folder: Header(artefact="models", key="", content_hash=files_hash(folder))  # noqa: E731
    for version in (2, 3):
        warehouse.publish_folder("models", "", lambda folder, n=version: fill(folder, n), whole)
    assert version_of_folder(warehouse) == 1


# -- equal content, equal bytes (law 4) ------------------------------------------------------------------------


def test_publishing_again_changes_no_byte(tmp_path):
    warehouse = Warehouse(tmp_path)
    publish(warehouse, 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    publish(warehouse, 1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


files_of_folder = st.dictionaries(st.sampled_from(["a", "b", "c/d"]), st.binary(max_size=4))


def hash_of(folder: Path, files: dict[str, bytes], extra: object = None) -> str:
    for name, data in files.items():
        write_atomically(folder / name, data)
    return files_hash(folder, extra)


@given(files_of_folder, files_of_folder)
def test_a_folders_hash_is_equal_exactly_when_names_and_bytes_are(tmp_path_factory, one, other):
    hashes = [hash_of(tmp_path_factory.mktemp("folder"), files) for files in (one, other)]
    assert (hashes[0] == hashes[1]) == (one == other)


def test_settings_that_matter_are_part_of_the_hashes(tmp_path):
    assert hash_of(tmp_path, {"a": b"1"}, extra={"rank": 1}) != files_hash(tmp_path)
    assert rows_hash([], {"rank": 1}) != rows_hash([])


@given(st.binary(max_size=100) | st.text(st.characters(exclude_categories=["Cs"])))
def test_a_file_holds_exactly_what_was_written(tmp_path, data):
    path = tmp_path / "deep" / "file"
    write_atomically(path, data)
    assert path.read_bytes() == (data.encode("utf-8") if isinstance(data, str) else data)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_json_of_our_own_is_read_as_utf8(tmp_path):
    write_atomically(tmp_path / "a.json", '{"ü": 1}')
    assert read_json(tmp_path / "a.json") == {"ü": 1}


# -- headers and paths -----------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 2**40), max_size=3), st.text(max_size=8))
def test_a_header_comes_back_from_the_footer_as_it_was_written(tmp_path, counts, note):
    try:
        note.encode("utf-8")
        "".join(counts).encode("utf-8")
    except UnicodeEncodeError:
        return
    header = Header(
        artefact="things",
        key="library-0001",
        content_hash="ab",
        inputs={"raw": "cd"},
        counts=counts,
        info={"note": note},
    )
    warehouse = Warehouse(tmp_path)
    warehouse.publish_table(header, pa.table({"a": [1]}))
    assert warehouse.header("things", "library-0001") == header


def test_days_and_cycles_lie_in_hive_style_folders_and_keys_are_sorted(tmp_path):
    warehouse = Warehouse(tmp_path)
    for key in ("2025-01-03", "2024-12-31", "library-0001"):
        warehouse.publish_table(Header(artefact="things", key=key, content_hash="x"), pa.table({"a": [1]}))
    assert sorted(path.name for path in (tmp_path / "things").iterdir()) == [
        "cycle=library-0001",
        "day=2024-12-31",
        "day=2025-01-03",
    ]
    assert warehouse.keys("things") == ["2024-12-31", "2025-01-03", "library-0001"]
    assert warehouse.keys("nothing") == []


def test_the_partition_folder_adds_no_column(tmp_path):
    warehouse = Warehouse(tmp_path)
    warehouse.publish_table(Header(artefact="things", key="2025-01-03", content_hash="x"), pa.table({"day": [1]}))
    assert warehouse.read_table("things", "2025-01-03").to_pylist() == [{"day": 1}]


def test_reading_what_was_never_published_says_what_to_materialise(tmp_path):
    for read in (Warehouse(tmp_path).read_table, Warehouse(tmp_path).folder):
        with pytest.raises(LineageError, match=r"things\[2025-01-03\] is not in the warehouse") as caught:
            read("things", "2025-01-03")
        assert caught.value.remedy == "materialise things for 2025-01-03 first"


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    warehouse = Warehouse(tmp_path)
    path = warehouse.table_path("things", "2025-01-03")
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(LineageError, match="not written by SynDE; move the file out"):
        warehouse.read_table("things", "2025-01-03")


def publish_forever(root: Path) -> None:
    """What the killed process runs: it starts at a version of its own, so that removed ones come back early."""
    warehouse, version = Warehouse(root), random.randrange(3)
    publish(warehouse, version)
    sys.stdout.write("published once\n")
    sys.stdout.flush()
    while True:
        version = (version + 1) % 3
        publish(warehouse, version)


def kill_everywhere(root: Path) -> int:
    """Kill a process that publishes two versions in turn at its 1st, 2nd, ... file operation, until it gets through.

    After each kill the version must be whole, and so must each version after it is published again: half a folder
    under the name of its content would be taken for it. Returns the number of kills.
    """
    warehouse = Warehouse(root)
    publish_folder(warehouse, 0)
    for n_kills in range(10_000):
        child = os.fork()
        if child == 0:
            die_at_file_operation(n_kills)
            publish_folder(warehouse, 1)
            publish_folder(warehouse, 0)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return n_kills
        assert version_of_folder(warehouse) in (0, 1)
        for version in (1, 0):
            publish_folder(warehouse, version)
            assert version_of_folder(warehouse) == version
    raise AssertionError("the process never got through")


def die_at_file_operation(n: int) -> None:
    """SIGKILL this process just before its n-th file operation from now on (counted from 0)."""
    operations = iter(range(10_000))

    def hook(event: str, _: tuple) -> None:
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and next(operations) == n:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    if sys.argv[2:] == ["everywhere"]:
        sys.stdout.write(str(kill_everywhere(Path(sys.argv[1]))))
    else:
        publish_forever(Path(sys.argv[1]))

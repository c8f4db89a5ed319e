"""Roots on other file systems: a copy in the cache, brought up to date, and read as any folder."""

import shutil
from pathlib import Path

import fsspec
import pytest

from cambench.bench.engine.planning.config import read_config
from cambench.datasets.disk.urls import url_of
from cambench.datasets.open import DataSource, open_table
from cambench.datasets.schema import DatasetError
from cambench.datasets.tables import remote
from cambench.datasets.tables.remote import local_copy


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """An empty folder of fsspec's file system in memory."""
    monkeypatch.setenv("CAMBENCH_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    yield lambda name, data: system.pipe(f"/bucket/set/{name}", data)
    system.store.clear()
    system.pseudo_dirs[:] = [""]


URL = "memory://bucket/set"


@pytest.mark.parametrize(
    ("root", "url"),
    [
        ("s3://bucket/data", "s3://bucket/data"),
        (Path("s3://bucket/data"), "s3://bucket/data"),
        (Path("hf://datasets/user/set"), "hf://datasets/user/set"),
        ("C:/data/cub", None),
        (Path("C:\\data"), None),
        ("/data/a:b", None),
        ("data:/", None),
        ("relative/path", None),
    ],
)
def test_a_url_is_told_from_a_path(root, url):
    assert url_of(root) == url


def test_only_what_changed_is_fetched_again(bucket, monkeypatch, capsys):
    bucket("a/1.txt", b"one")
    bucket("2.txt", b"two")
    copy = local_copy(URL)
    assert {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*.txt")} == {
        "a/1.txt": b"one",
        "2.txt": b"two",
    }
    assert f"copying {URL} (0 MB): 2 files" in capsys.readouterr().err
    asked = []
    memory = type(fsspec.filesystem("memory"))
    get = memory.get
    monkeypatch.setattr(memory, "get", lambda self, names, *rest: asked.extend(names) or get(self, names, *rest))
    assert local_copy(URL) == copy
    assert asked == []
    bucket("2.txt", b"TWO")
    bucket("3.txt", b"three")
    (copy / "a" / "1.txt").unlink()
    fsspec.filesystem("memory").rm("/bucket/set/a/1.txt")
    local_copy(URL)
    assert sorted(asked) == ["/bucket/set/2.txt", "/bucket/set/3.txt"]
    assert sorted(p.name for p in copy.rglob("*.txt")) == ["2.txt", "3.txt"]
    assert (copy / "2.txt").read_bytes() == b"TWO"


def test_a_copy_that_was_cut_goes_on(bucket, monkeypatch):
    for number in range(5):
        bucket(f"{number}.txt", bytes([number]))
    monkeypatch.setattr(remote, "_AT_ONCE", 2)
    memory = type(fsspec.filesystem("memory"))
    get, asked = memory.get, []

    def failing(self, names, *rest):
        asked.append(list(names))
        if len(asked) == 2:
            raise ConnectionError("the line is down")
        return get(self, names, *rest)

    monkeypatch.setattr(memory, "get", failing)
    with pytest.raises(DatasetError, match="stopped: ConnectionError: the line is down; the same command goes on"):
        local_copy(URL)
    copy = local_copy(URL)
    assert [len(names) for names in asked] == [2, 2, 2, 1]
    assert sorted(p.read_bytes() for p in copy.glob("*.txt")) == [bytes([n]) for n in range(5)]


def test_a_data_set_is_read_from_a_url(bucket, tmp_path, monkeypatch):
    picture = next((Path(__file__).parents[3] / "docs" / "images").glob("*.png")).read_bytes()
    folder = tmp_path / "photos"
    for name in ("test/cat/1.png", "test/dog/2.png"):
        bucket(name, picture)
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(picture)
    table, here = open_table("folder", URL), open_table("folder", folder)
    assert table.rows["image_id"] == here.rows["image_id"]
    assert table.fingerprint == here.fingerprint
    source = DataSource("folder", Path(URL))
    source.check()
    assert source.open().fingerprint == here.fingerprint
    config = tmp_path / "run.yaml"
    config.write_text(f"dataset: folder\nroot: {URL}\ntriples: slim_resnet/cam/softmax\nout: out\n")
    assert url_of(read_config(config, {}).root) == URL


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://bucket/nothing", "there is no file"),
        ("nosuch://bucket/set", "fsspec knows no file system 'nosuch'"),
        ("zip://inner::memory://bucket/none.zip", "cannot be listed"),
    ],
)
def test_a_url_that_cannot_be_read_is_said(bucket, url, said):
    with pytest.raises(DatasetError) as error:
        open_table("folder", url)
    assert said in str(error.value)


def test_a_disk_that_is_too_small_and_names_that_lead_out(bucket, monkeypatch):
    bucket("1.txt", b"one")
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda place: usage._replace(free=2))
        with pytest.raises(DatasetError, match="3 bytes of memory://bucket/set are to be copied there, 2 are free"):
            local_copy(URL)
    memory = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(memory, "find", lambda *a, **k: {"/bucket/set/../outside.txt": {"size": 2}})
    with pytest.raises(DatasetError, match="no name below it"):
        local_copy(URL)

"""The Arrow cache: keys, staleness, damage, concurrency; and archives and bulk checks below it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from cambench.datasets.disk.archives import GzipReader, index_tar, is_member, member_path, read_member, split_member
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError
from cambench.datasets.tables.cache import cache_root
from cambench.datasets.tables.splits import holdout


def entries(cache):
    return sorted(p.name for p in (cache / "datasets" / "cub").iterdir())


def test_key_covers_annotation_contents_split_and_root(own_cache, cub_replica, tmp_path):
    first = open_table("cub", cub_replica)
    assert len(entries(own_cache)) == 1
    open_table("cub", cub_replica)
    assert len(entries(own_cache)) == 1
    open_table("cub", cub_replica, "train")
    path = cub_replica / "bounding_boxes.txt"
    path.write_text(path.read_text().replace("101 2.0", "101 1.0"))
    changed = open_table("cub", cub_replica)
    assert len(entries(own_cache)) == 3
    assert changed.fingerprint != first.fingerprint
    assert changed.rows[0]["boxes"] != first.rows[0]["boxes"]


def test_fingerprint_does_not_depend_on_where_the_files_lie(own_cache, cub_replica, tmp_path):
    first = open_table("cub", cub_replica)
    moved = cub_replica.rename(tmp_path / "elsewhere")
    second = open_table("cub", moved)
    assert second.fingerprint == first.fingerprint
    assert second.rows[0]["image"]["path"].startswith(str(moved))
    target = moved / "images" / second.rows[0]["image_id"]
    target.write_bytes(target.read_bytes() + b"\0")
    assert open_table("cub", moved, refresh=True).fingerprint != first.fingerprint


def test_removed_images_make_the_entry_stale(own_cache, cub_replica):
    table = open_table("cub", cub_replica)
    (cub_replica / "images" / table.rows[0]["image_id"]).unlink()
    with pytest.raises(DatasetError, match="1 of 6 listed images are not on disk"):
        open_table("cub", cub_replica)


def test_folders_that_appear_later_make_a_partial_entry_stale(own_cache, cub_replica, tmp_path):
    folder = next(p for p in (cub_replica / "images").iterdir())
    folder.rename(tmp_path / "away")
    assert len(open_table("cub", cub_replica, missing="skip")) == 4
    (tmp_path / "away").rename(folder)
    assert len(open_table("cub", cub_replica, missing="skip")) == 6


@pytest.mark.parametrize("file", ["meta.json", "rows.arrow"])
@pytest.mark.parametrize("damage", ["cut", "gone", "junk"])
def test_a_damaged_entry_is_built_again(own_cache, cub_replica, file, damage):
    first = open_table("cub", cub_replica)
    ids = list(first.rows["image_id"])
    path = own_cache / "datasets" / "cub" / entries(own_cache)[0] / file
    del first
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"junk" * 50)
    assert open_table("cub", cub_replica).rows["image_id"] == ids


def test_failed_builds_leave_nothing(own_cache, cub_replica):
    (cub_replica / "images.txt").write_text("junk\n")
    with pytest.raises(DatasetError):
        open_table("cub", cub_replica)
    assert entries(own_cache) == []


def test_unwritable_cache_says_what_to_set(cub_replica, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAMBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="set CAMBENCH_CACHE to a folder that can"):
        open_table("cub", cub_replica)


def test_many_threads_build_the_same_entry(own_cache, cub_replica):
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_table("cub", cub_replica).fingerprint)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert len(entries(own_cache)) == 1


@pytest.mark.slow
def test_two_processes_build_the_same_entry(own_cache, cub_replica):
    code = f"from cambench.datasets.open import open_table; print(open_table('cub', {str(cub_replica)!r}).fingerprint)"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
        )
        for _ in range(2)
    ]
    answers = {p.communicate(timeout=120)[0] for p in running}
    assert [p.returncode for p in running] == [0, 0]
    assert len(answers) == 1


def test_permission_denied_is_reported(own_cache, cub_replica, monkeypatch):
    """As root no folder is unreadable, so the listing itself is made to refuse."""
    real = os.scandir

    def scandir(path="."):
        if "012." in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("cambench.datasets.disk.files.os.scandir", scandir)
    with pytest.raises(DatasetError, match=r"permission denied: 2 images .*\n.*chmod -R u\+rX"):
        open_table("cub", cub_replica)


def test_empty_files_are_counted_before_the_run(own_cache, cub_replica):
    name = (cub_replica / "images.txt").read_text().split()[1]
    (cub_replica / "images" / name).write_bytes(b"")
    table = open_table("cub", cub_replica)
    assert len(table) == 6
    assert any("1 image files are empty (0 bytes)" in n for n in table.notes)


def test_gzip_reader_gives_any_range(tmp_path):
    import gzip

    data = np.random.default_rng(0).integers(0, 256, 7_000_000, dtype=np.uint8).tobytes()
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(data[:3_000_000], 1) + gzip.compress(data[3_000_000:], 1))
    reader = GzipReader(str(path))
    rng = np.random.default_rng(1)
    for _ in range(60):
        start, size = int(rng.integers(0, len(data))), int(rng.integers(1, 40_000))
        assert reader.pread(size, start) == data[start : start + size]
    assert reader.pread(10, len(data)) == b""


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_members_by_offset(tmp_path, mode):
    archive = tmp_path / "x.tar"
    contents = {f"{'d' * 90}/{i}_{'é' * 20}.bin": os.urandom(i * 700) for i in range(8)}
    with tarfile.open(archive, mode) as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    members = index_tar(archive)
    assert set(members) == set(contents)
    for name, (offset, size) in members.items():
        address = member_path(archive, name, offset, size)
        assert is_member(address)
        assert split_member(address) == (offset, size, name, str(archive))
        assert read_member(address) == contents[name]


def test_holdout_is_stratified_and_independent_of_the_other_classes():
    labels = np.array([0] * 20 + [1] * 3 + [2] + [3] * 10)
    held = holdout(labels, 0.1, 0)
    assert [int(held[labels == c].sum()) for c in range(4)] == [2, 1, 0, 1]
    assert np.array_equal(holdout(labels[:20], 0.1, 0), held[:20])
    assert not np.array_equal(holdout(labels, 0.1, 1), held)


def test_gzip_reader_is_shared_by_threads(tmp_path):
    import gzip
    from concurrent.futures import ThreadPoolExecutor

    data = np.random.default_rng(3).integers(0, 64, 9_000_000, dtype=np.uint8).tobytes()
    (tmp_path / "x.gz").write_bytes(gzip.compress(data, 1))
    reader = GzipReader(str(tmp_path / "x.gz"))
    places = np.random.default_rng(4).integers(0, len(data) - 70_000, 200).tolist()
    places[::3] = range(0, 67 * 5000, 5000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda p: reader.pread(65_000, p), places))
    assert all(f == data[p : p + 65_000] for f, p in zip(found, places, strict=True))


def test_a_full_disk_names_the_cache_and_leaves_nothing_there(own_cache, cub_replica):
    """Files limited to 2 kB stand in for a full disk: both fail in the middle of a write."""
    code = (
        "import resource, signal, sys\n"
        "from cambench.datasets.open import open_table\n"
        "from cambench.datasets.schema import DatasetError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "sys.dont_write_bytecode = True\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))\n"
        "try:\n    open_table('cub', sys.argv[1])\n"
        "except DatasetError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cub_replica)], capture_output=True, text=True, check=True)
    assert f"cache folder {own_cache}/datasets/cub cannot be written" in done.stdout
    assert "File too large" in done.stdout
    assert "set CAMBENCH_CACHE to another folder" in done.stdout
    assert entries(own_cache) == []


def test_a_cache_at_a_url_is_refused(monkeypatch):
    monkeypatch.setenv("CAMBENCH_CACHE", "s3://bucket/cache")
    with pytest.raises(DatasetError, match="CAMBENCH_CACHE s3://bucket/cache: the cache is a folder"):
        cache_root()
    monkeypatch.setenv("CAMBENCH_CACHE", "file:///var/cache/birds")
    assert cache_root() == Path("/var/cache/birds")

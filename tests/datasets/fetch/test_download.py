"""Download against a local server: resume, checksums, refusal to overwrite, hostile archives."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cambench.datasets.fetch.download import download, fetch_and_extract, unpack
from cambench.datasets.fetch.http import fetch
from cambench.datasets.fetch.sources import SOURCES, SourceFile
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError
from cambench.registry import UnknownNameError


class Handler(BaseHTTPRequestHandler):
    """Serves a folder; understands ranges unless told not to; may cut the first answers short."""

    def __init__(self, folder: Path, state: dict, *args: object) -> None:
        self.folder, self.state = folder, state
        super().__init__(*args)

    def do_GET(self) -> None:
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, start = path.read_bytes(), 0
        wanted = self.headers.get("Range")
        self.state.setdefault("ranges", []).append(wanted)
        if wanted and self.state.get("ranged", True):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if self.state.get("cuts", 0) > 0:
            self.state["cuts"] -= 1
            end = start + (len(data) - start) // 2
        self.wfile.write(data[start:end])

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def server(tmp_path):
    folder, state = tmp_path / "served", {}
    folder.mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, folder, state))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{http.server_port}", state
    http.shutdown()
    http.server_close()
    thread.join()


@contextmanager
def silent(_title, _total):
    yield lambda _units: None


def md5(data: bytes) -> str:
    return f"md5:{hashlib.md5(data).hexdigest()}"


def test_an_interrupted_download_continues(server, tmp_path):
    folder, url, state = server
    data = os.urandom(3_000_000)
    (folder / "x.bin").write_bytes(data)
    state["cuts"] = 1
    target = tmp_path / "x.bin"
    with pytest.raises(DatasetError, match=r"closed at byte 1,500,000; run the same command again|ended after"):
        fetch(f"{url}/x.bin", target, len(data), md5(data), silent)
    assert not target.exists()
    done: list[int] = []

    @contextmanager
    def track(title, total):
        assert (title, total) == ("x.bin", len(data))
        yield done.append

    assert fetch(f"{url}/x.bin", target, len(data), md5(data), track) == "resumed"
    assert target.read_bytes() == data
    assert state["ranges"] == [None, "bytes=1500000-"]
    assert (done[0], sum(done)) == (1_500_000, len(data))
    assert not target.with_name("x.bin.part").exists()
    assert fetch(f"{url}/x.bin", target, len(data), md5(data), silent) == "already there"
    assert len(state["ranges"]) == 2


def test_a_server_without_ranges_starts_again(server, tmp_path):
    folder, url, state = server
    (folder / "x").write_bytes(b"right content")
    (tmp_path / "x.part").write_bytes(b"wrong")
    state["ranged"] = False
    assert fetch(f"{url}/x", tmp_path / "x", 0, md5(b"right content"), silent) == "downloaded"
    assert (tmp_path / "x").read_bytes() == b"right content"


def test_a_wrong_checksum_or_size_is_refused_and_removed(server, tmp_path):
    folder, url, _ = server
    (folder / "x").write_bytes(b"tampered")
    with pytest.raises(DatasetError, match=r"md5 .*, published is"):
        fetch(f"{url}/x", tmp_path / "x", 0, md5(b"original"), silent)
    with pytest.raises(DatasetError, match="8 bytes, published are 5"):
        fetch(f"{url}/x", tmp_path / "x", 5, "", silent)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["served"]
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(DatasetError, match="delete it and run again"):
        fetch(f"{url}/x", tmp_path / "x", 0, md5(b"original"), silent)
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_refusals_of_the_server_and_other_schemes(server, tmp_path):
    _, url, _ = server
    with pytest.raises(DatasetError, match="the server answered 404"):
        fetch(f"{url}/nothing", tmp_path / "x", 0, "", silent)
    with pytest.raises(DatasetError, match="only https"):
        fetch("file:///etc/passwd", tmp_path / "x", 0, "", silent)
    with pytest.raises(DatasetError, match="what was received is kept"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", 0, "", silent)


def test_a_partial_file_longer_than_the_file(server, tmp_path):
    folder, url, _ = server
    (folder / "x").write_bytes(b"short")
    (tmp_path / "x.part").write_bytes(b"much longer than that")
    with pytest.raises(DatasetError, match="it was removed, run again"):
        fetch(f"{url}/x", tmp_path / "x", 0, "", silent)
    assert fetch(f"{url}/x", tmp_path / "x", 0, "", silent) == "downloaded"


def test_cub_from_a_mirror_to_a_table(server, tmp_path, cub_replica, own_cache, monkeypatch):
    folder, url, _ = server
    with tarfile.open(folder / "CUB_200_2011.tgz", "w:gz") as tar:
        tar.add(cub_replica, arcname="CUB_200_2011")
    data = (folder / "CUB_200_2011.tgz").read_bytes()
    source = SourceFile("CUB_200_2011.tgz", "page", "", len(data), md5(data), "CUB_200_2011/images.txt")
    monkeypatch.setitem(SOURCES, "cub", (source,))
    report = download("cub", tmp_path / "new", base_url=url)
    (file,) = report.files
    assert (file.outcome, file.extracted) == ("downloaded", 17)
    assert len(open_table("cub", tmp_path / "new")) == 6
    again = download("cub", tmp_path / "new", base_url=url)
    assert (again.files[0].outcome, again.files[0].extracted) == ("already there", 0)
    (tmp_path / "new" / "CUB_200_2011.tgz").unlink()
    assert download("cub", tmp_path / "new", base_url=url).files[0].outcome == "already there"


def test_sets_without_a_link_say_what_to_do_by_hand(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot be downloaded automatically.*\n.*Kaggle"):
        download("stanford_cars", tmp_path)
    with pytest.raises(UnknownNameError):
        download("imagenett", tmp_path)


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("../evil"), "would be written outside"),
        (member("a/../../evil"), "would be written outside"),
        (member("/etc/evil"), "would be written outside"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
        (member("hard", tarfile.LNKTYPE, "good"), "is a link or a device"),
        (member("fifo", tarfile.FIFOTYPE), "is a link or a device"),
        (member("there"), "exists already and is not overwritten"),
        (member("door/evil"), "is a symbolic link"),
    ],
)
def test_hostile_tar_members_stop_the_extraction_before_it_begins(tmp_path, bad, message):
    target = tmp_path / "target"
    target.mkdir()
    (target / "there").write_text("mine")
    (target / "door").symlink_to(tmp_path)
    archive = tar_of(tmp_path / "x.tar", member("good"), bad)
    with pytest.raises(DatasetError, match=message):
        unpack(archive, target)
    assert sorted(p.name for p in target.iterdir()) == ["door", "there"]
    assert (target / "there").read_text() == "mine"
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "..\\evil", "C:/evil"])
def test_hostile_zip_members(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as pack:
        pack.writestr("good", b"1")
        pack.writestr(name, b"2")
    (tmp_path / "target").mkdir()
    with pytest.raises(DatasetError, match="would be written outside"):
        unpack(tmp_path / "x.zip", tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_damaged_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as pack:
        pack.writestr("a/b.txt", b"hello")
    assert unpack(tmp_path / "x.zip", tmp_path / "out") == 1
    assert (tmp_path / "out/a/b.txt").read_bytes() == b"hello"
    packed = tmp_path / "x.zip"
    data = bytearray(packed.read_bytes())
    data[data.index(b"hello")] ^= 1
    packed.write_bytes(data)
    with pytest.raises(DatasetError, match="cannot be extracted"):
        unpack(packed, tmp_path / "second")
    assert list((tmp_path / "second").iterdir()) == []
    archive = tar_of(tmp_path / "x.tar", member("good"))
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(DatasetError, match="cannot be extracted"):
        unpack(archive, tmp_path / "out")


def test_folders_that_exist_are_merged_not_replaced(tmp_path):
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "mine").write_text("mine")
    archive = tar_of(tmp_path / "x.tar", member("a/new"), member("b/c/new"))
    assert unpack(archive, tmp_path / "out") == 2
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "a/mine",
        "a/new",
        "b/c/new",
    ]


def test_a_root_that_is_the_data_set_itself_is_not_fetched_into(cub_replica):
    """Else CUB_200_2011/CUB_200_2011 would be made beside images that are there."""
    source = SOURCES["cub"][0]
    for folder in (cub_replica, cub_replica.parent):
        report = fetch_and_extract(source, "http://127.0.0.1:1/none", folder, extract=True, track=lambda *_: None)
        assert (report.outcome, report.path) == ("already there", cub_replica / "images.txt")

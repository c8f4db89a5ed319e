"""Downloads on bad connections, odd folders and file systems; archives that are no plain archives."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import zipfile
from contextlib import nullcontext
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from cambench.datasets.fetch.download import download, unpack
from cambench.datasets.fetch.http import fetch
from cambench.datasets.schema import DatasetError

DATA = bytes(range(256)) * 8


def track(_title, _total):
    return nullcontext(lambda _units: None)


@pytest.fixture
def server():
    """(address, answers): a server that gives each request the next of ``answers`` as it is, and hangs up."""
    answers: list[bytes] = []

    class Handler(StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answers.pop(0))

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}/x.bin", answers
        listening.shutdown()


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize("broken", [
    b"no HTTP at all\r\n\r\n",
    b"HTTP/1.1 hello\r\n\r\n",
    answer(b"400\r\n" + DATA[:300], "200 OK", "Transfer-Encoding: chunked"),
])  # fmt: skip
def test_a_broken_answer_is_told_and_the_same_command_goes_on(server, tmp_path, broken):
    url, answers = server
    answers += [broken, answer(DATA, "200 OK", f"Content-Length: {len(DATA)}")]
    with pytest.raises(DatasetError, match="no whole HTTP answer .*run the same command again"):
        fetch(url, tmp_path / "x.bin", len(DATA), "", track)
    assert not (tmp_path / "x.bin").exists()
    fetch(url, tmp_path / "x.bin", len(DATA), "", track)
    assert (tmp_path / "x.bin").read_bytes() == DATA


def test_a_part_that_is_whole_is_kept_where_no_size_is_published(server, tmp_path):
    url, answers = server
    (tmp_path / "x.bin.part").write_bytes(DATA)
    answers.append(answer(b"", "416 Range Not Satisfiable", f"Content-Range: bytes */{len(DATA)}"))
    assert fetch(url, tmp_path / "x.bin", 0, "", track) == "resumed"
    assert (tmp_path / "x.bin").read_bytes() == DATA


def test_a_file_system_without_hard_links(server, tmp_path, monkeypatch):
    def link(_source, _target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    url, answers = server
    answers.append(answer(DATA, "200 OK", f"Content-Length: {len(DATA)}"))
    assert fetch(url, tmp_path / "x.bin", len(DATA), "", track) == "downloaded"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("name", ["x.bin", "x.bin.part"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=f"{name} is a symbolic link; remove it"):
        fetch("http://127.0.0.1:1/x.bin", tmp_path / "x.bin", 4, "", track)
    assert not (tmp_path / "nowhere").exists()


def test_a_root_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DatasetError, match=r"file: File exists; run the same command again"):
        download("cub", tmp_path / "file", base_url="http://127.0.0.1:1")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", [".", ""])
def test_a_member_without_a_name(tmp_path, name):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DatasetError, match="has no name; nothing was extracted"):
        unpack(tmp_path / "x.tar", tmp_path / "out")


@pytest.mark.parametrize(("field", "value", "message"), [
    (6, 1, "encrypted"),
    (8, 99, "compression method is not supported"),
])  # fmt: skip
def test_zip_archives_that_python_cannot_read(tmp_path, field, value, message):
    """``field``: offset of the flags or the method in the file's header, two less than in the directory's."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as pack:
        pack.writestr("a", "content")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[field] = data[data.index(b"PK\x01\x02") + field + 2] = value
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []

"""Download from a stand-in of the Hugging Face hub on this machine: gate, resume, checksums, no overwriting."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import threading
from contextlib import nullcontext
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from cambench.datasets.doctor.examine import doctor
from cambench.datasets.fetch.download import download
from cambench.datasets.fetch.hub import fetch_hub
from cambench.datasets.fetch.sources import HUB, HubSource
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

REPO, REVISION = HUB["imagenet"][0].repo, HUB["imagenet"][0].revision


class Hub(BaseHTTPRequestHandler):
    """Answers what the hub's library asks of a data set; ``state`` has its moods and what it was asked."""

    def __init__(self, folder: Path, state: dict, *args: object) -> None:
        self.folder, self.state = folder, state
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.state.setdefault("asked", []).append(
            (self.command, self.path.partition("?")[0], self.headers.get("Range"))
        )
        if self.path.startswith("/elsewhere/"):
            self.state.setdefault("redirected", []).append(self.headers.get("Authorization"))
            return self.reply(200, (self.folder / self.path.removeprefix("/elsewhere/")).read_bytes(), {}, body)
        if self.state.get("token") and self.headers.get("Authorization") != f"Bearer {self.state['token']}":
            code = {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to dataset {REPO} is restricted"}
            return self.reply(401 if "Authorization" not in self.headers else 403, b"{}", code, body)
        if self.state.get("status"):
            return self.reply(self.state["status"], b"{}", {}, body)
        if self.path.startswith(f"/api/datasets/{REPO}/revision/{REVISION}"):
            files = [self.describe(p) for p in sorted(self.folder.rglob("*")) if p.is_file()]
            files += [{"rfilename": n, "size": 1} for n in self.state.get("also", ())]
            return self.reply(200, json.dumps({"id": REPO, "sha": REVISION, "siblings": files}).encode(), {}, body)
        if self.path == f"/api/datasets/{REPO}/auth-check":
            return self.reply(200, b"{}", {}, body)
        path = self.folder / self.path.partition("?")[0].removeprefix(f"/datasets/{REPO}/resolve/{REVISION}/")
        if not path.is_file():
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        if self.state.get("redirect"):
            return self.reply(302, b"", {"Location": f"/elsewhere/{path.relative_to(self.folder)}"}, body)
        data = path.read_bytes()
        headers = {"X-Repo-Commit": REVISION, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        cut = len(data) // 2 if body and self.state.pop("cut", False) else len(data)
        headers["Content-Length"] = str(len(data) - start)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.reply(206 if start else 200, data[start:cut], headers, body)

    def describe(self, path: Path) -> dict:
        data = path.read_bytes()
        digest = self.state.get("sha256") or hashlib.sha256(data).hexdigest()
        lfs = {"size": len(data), "sha256": digest, "pointerSize": 130}
        return {"rfilename": str(path.relative_to(self.folder)), "size": len(data), "lfs": lfs}

    def reply(self, status: int, data: bytes, headers: dict, body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """``(folder of the repository, endpoint, state)``."""
    folder, state = tmp_path / "hub", {}
    (folder / "data").mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, state))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", state
    server.shutdown()
    server.server_close()


def silent(_title, _total):
    return nullcontext(lambda _count: None)


SOURCE = HubSource(REPO, REVISION, "data/validation-*.parquet", 1, gated=True)


def test_files_of_the_pattern_arrive_verified_and_are_not_fetched_twice(hub, tmp_path):
    folder, endpoint, state = hub
    for name in ("validation-0", "validation-1", "train-0"):
        (folder / "data" / f"{name}.parquet").write_bytes(name.encode() * 1000)
    reports = fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)
    assert [(r.name, r.outcome, r.size) for r in reports] == [
        (f"data/validation-{i}.parquet", "downloaded", 12_000) for i in range(2)
    ]
    assert all(r.checksum.startswith("sha256:") for r in reports)
    assert sorted(p.name for p in (tmp_path / "root").rglob("*")) == [
        "data",
        "validation-0.parquet",
        "validation-1.parquet",
    ]
    state["asked"].clear()
    assert {r.outcome for r in fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)} == {"already there"}
    assert all("resolve" not in path for _, path, _ in state["asked"])


def test_an_interrupted_file_goes_on_where_it_stopped(hub, tmp_path):
    folder, endpoint, state = hub
    data = bytes(range(256)) * 4000
    (folder / "data" / "validation-0.parquet").write_bytes(data)
    state["cut"] = True
    with pytest.raises(DatasetError, match="run the same command again"):
        fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)
    target = tmp_path / "root" / "data" / "validation-0.parquet"
    assert not target.exists()
    (report,) = fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)
    assert (report.outcome, report.size) == ("resumed", len(data))
    assert target.read_bytes() == data
    assert state["asked"][-1][2] == f"bytes={len(data) // 2}-"
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_the_token_stays_with_the_hub(hub, tmp_path, monkeypatch):
    """The hub redirects to other servers, which must not see it."""
    folder, endpoint, state = hub
    (folder / "data" / "validation-0.parquet").write_bytes(b"data")
    state["token"], state["redirect"] = "hf_right", True
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)
    assert state["redirected"] == [None]


def test_a_wrong_checksum_leaves_nothing(hub, tmp_path):
    folder, endpoint, state = hub
    (folder / "data" / "validation-0.parquet").write_bytes(b"tampered")
    state["sha256"] = "0" * 64
    with pytest.raises(DatasetError, match=r"sha256 .*, published is 0000"):
        fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)
    assert not list((tmp_path / "root").rglob("*.parquet"))


def test_what_is_there_is_never_overwritten(hub, tmp_path):
    folder, endpoint, _ = hub
    (folder / "data" / "validation-0.parquet").write_bytes(b"published")
    mine = tmp_path / "root" / "data" / "validation-0.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DatasetError, match="4 bytes, published are 9; delete it and run again"):
        fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)
    assert mine.read_bytes() == b"mine"
    assert [p.name for p in mine.parent.iterdir()] == [mine.name]


def test_the_gate_says_what_to_do_and_opens_with_a_token(hub, tmp_path, monkeypatch):
    folder, endpoint, state = hub
    state["token"] = "hf_right"
    (folder / "data" / "validation-00000-of-00014.parquet").write_bytes(b"x")
    with pytest.raises(DatasetError) as error:
        download("imagenet", tmp_path / "root", endpoint=endpoint)
    text = str(error.value)
    assert f"{REPO} is gated on the Hugging Face hub" in text
    assert "accept the terms" in text
    assert "hf auth login" in text
    assert "or fetch by hand instead:\n  ILSVRC2012_img_val.tar" in text
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DatasetError, match="is gated"):
        download("imagenet", tmp_path / "root", endpoint=endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    report = download("imagenet", tmp_path / "root", endpoint=endpoint)
    assert [f.outcome for f in report.files] == ["downloaded"]
    assert any("ILSVRC2012_bbox_val_v3.tgz" in s for s in report.manual)
    assert not any("img_val.tar" in s for s in report.manual)


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ({"status": 500}, "the hub answered 500"),
        ({"status": 404}, "is gated on the Hugging Face hub|the hub answered 404"),
        ({"also": ["../validation-0.parquet"]}, "no file data/validation"),
        ({"also": ["data/validation-/../../../evil.parquet"]}, "would be written outside"),
    ],
)
def test_refusals_and_hostile_answers(hub, tmp_path, mood, message, monkeypatch):
    _, endpoint, state = hub
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _s: None)
    state.update(mood)
    with pytest.raises(DatasetError, match=message):
        fetch_hub(SOURCE, tmp_path / "root", silent, endpoint)


def test_nobody_there_and_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _s: None)
    with pytest.raises(DatasetError, match="run the same command again"):
        fetch_hub(SOURCE, tmp_path / "root", silent, "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DatasetError, match="HF_HUB_OFFLINE is set"):
        fetch_hub(SOURCE, tmp_path / "root", silent, "http://127.0.0.1:9")


def test_from_the_hub_to_a_table(hub, tmp_path, own_cache, monkeypatch, jpeg):
    import datasets as hf

    folder, endpoint, _ = hub
    path = jpeg(tmp_path / "x.JPEG", format="JPEG")
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(num_classes=1000)})
    picture = {"bytes": path.read_bytes(), "path": "ILSVRC2012_val_00000293_n01440764.JPEG"}
    table = hf.Dataset.from_dict({"image": [picture], "label": [0]}, features=features)
    table.to_parquet(folder / "data" / "validation-00000-of-00001.parquet")
    monkeypatch.setitem(HUB, "imagenet", (HubSource(REPO, REVISION, "data/validation-*", 1),))
    download("imagenet", tmp_path / "root", endpoint=endpoint)
    rows = open_table("imagenet", tmp_path / "root").rows
    assert (rows["image_id"], rows["label"]) == (["val/ILSVRC2012_val_00000293.JPEG"], [0])


def test_the_doctor_names_the_hub(tmp_path, own_cache):
    steps = "\n".join(doctor("imagenet", tmp_path).next_steps)
    assert f"or: cambench download imagenet --root {tmp_path}" in steps
    assert f"{REPO} on the Hugging Face hub, after accepting its terms there" in steps
    assert fnmatch.fnmatchcase("data/validation-00003-of-00014.parquet", HUB["imagenet"][0].pattern)


def test_the_command_with_an_endpoint_from_the_environment(hub, tmp_path, monkeypatch):
    """``HF_ENDPOINT`` is read by the library when it is imported; here its constants are set."""
    import typer
    from typer.testing import CliRunner

    from cambench.bench.cli import data as cli_data

    folder, endpoint, _ = hub
    (folder / "data" / "validation-00000-of-00014.parquet").write_bytes(b"x" * 3000)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(cli_data.out, "width", 200)
    app = typer.Typer()
    app.command()(cli_data.download)
    result = CliRunner().invoke(app, ["imagenet", "--root", str(tmp_path / "root")])
    assert result.exit_code == 0, result.output
    assert "validation-00000-of-00014.parquet: downloaded, sha256 verified" in result.output
    assert "by hand ILSVRC2012_bbox_val_v3.tgz" in result.output
    assert "next: cambench doctor imagenet" in result.output

"""A finished run given again is recognised in a moment, on a folder that cannot be written, too."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cambench.atomic import remove_leftovers_under
from cambench.bench.cli.app import main
from cambench.bench.engine.again import finished_before
from cambench.bench.engine.from_records import tabled_before
from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.engine.planning.words import check_request
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import run
from cambench.datasets.open import DataSource
from cambench.results.records.record_errors import ResultsError

FIELDS = {"triples": ("slim_resnet/{gradcam,center}/softmax",), "limit": 4}


def test_a_finished_run_is_read_and_not_computed(settings: dict[str, Any], monkeypatch: Any) -> None:
    fields = {**settings, **FIELDS}
    config, out = RunConfig.create(**fields), settings["out"]
    assert finished_before(config) is None
    first = run(**fields)
    state = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    monkeypatch.setattr(DataSource, "open", None)
    again = run(**fields)
    assert again.triples == first.triples
    assert again.paths == first.paths
    assert set(again.paths) == {out / "run.json", *(out / "tables").iterdir()}, "all that it wrote, in the same order"
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == state, "nothing was written"
    assert finished_before(config.model_copy(update={"workers": 7})) is not None
    assert finished_before(config.model_copy(update={"seed": 1})) is None
    assert finished_before(config.model_copy(update={"triples": ("slim_resnet/*/softmax",)})) is None


def test_what_is_missing_or_was_touched_is_done_again(settings: dict[str, Any]) -> None:
    fields = {**settings, **FIELDS}
    config, out = RunConfig.create(**fields), settings["out"]
    run(**fields)
    [part] = out.rglob("center/softmax/part-00000.parquet")
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    assert finished_before(config) is None
    run(**fields)
    assert part.read_bytes() == content
    assert finished_before(config) is not None
    part.unlink()
    assert finished_before(config) is None
    run(**fields)
    (out / "tables" / "scores.md").unlink()
    assert finished_before(config) is None


def test_tables_that_are_missing_are_made_from_the_records_alone(settings: dict[str, Any], monkeypatch: Any) -> None:
    fields = {**settings, **FIELDS}
    out, other = settings["out"], settings["out"].parent / "other"
    first = run(**fields)
    bytes_of = {p.name: p.read_bytes() for p in (out / "tables").iterdir()}
    state = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    smaller = run(**{**fields, "out": other, "limit": 3})
    monkeypatch.setattr(DataSource, "open", None)
    dest = out.parent / "tables of mine"
    elsewhere = run(**fields, dest=dest)
    assert {p.name: p.read_bytes() for p in dest.iterdir()} == bytes_of
    assert elsewhere.paths == (out / "run.json", *(dest / p.name for p in first.paths[1:]))
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == state, "nothing was written there"
    # Those of another run in the same folder are not taken for this run's, however young they are.
    run(**{**fields, "out": other, "limit": 3}, dest=dest)
    assert (dest / "scores.csv").read_bytes() == (other / "tables" / "scores.csv").read_bytes()
    assert (dest / "scores.csv").read_bytes() != bytes_of["scores.csv"]
    run(**fields, dest=dest)
    assert {p.name: p.read_bytes() for p in dest.iterdir()} == bytes_of
    # Older tables, without a file that this version writes; times of files as a copy leaves them.
    (out / "tables" / "intervals.md").unlink()
    (out / "run.json").touch()
    next(out.rglob("*.parquet")).touch()
    assert run(**fields).triples == smaller.triples
    assert {p.name: p.read_bytes() for p in (out / "tables").iterdir()} == bytes_of


@pytest.mark.parametrize("instead", ["nothing", "a folder"])
def test_a_marker_that_is_gone_is_missed(settings: dict[str, Any], instead: str) -> None:
    """No table can be made without it, and the way on is the run's own command."""
    fields = {**settings, **FIELDS}
    config, out = RunConfig.create(**fields), settings["out"]
    run(**fields)
    scores = (out / "tables" / "scores.csv").read_bytes()
    [mark] = out.glob("shards/*/00000.json")
    mark.unlink()
    if instead == "a folder":
        mark.mkdir()
    assert finished_before(config) is None
    assert tabled_before(config) is None
    if instead == "nothing":
        run(**fields)
        assert mark.is_file()
        assert finished_before(config) is not None
        assert (out / "tables" / "scores.csv").read_bytes() == scores
    else:
        with pytest.raises(IsADirectoryError, match="a folder stands where this file belongs"):
            run(**fields)


def test_tables_are_not_made_of_records_that_are_damaged(settings: dict[str, Any]) -> None:
    fields = {**settings, **FIELDS}
    config, out = RunConfig.create(**fields, dest=settings["out"].parent / "elsewhere"), settings["out"]
    assert tabled_before(config) is None
    run(**fields)
    [part] = out.rglob("center/softmax/part-00000.parquet")
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert tabled_before(config) is None
    assert tabled_before(config.model_copy(update={"seed": 1})) is None
    run(config)
    assert part.read_bytes() == content
    assert tabled_before(config) is not None


def test_a_file_where_the_tables_should_go_is_refused_before_the_run(settings: dict[str, Any]) -> None:
    (settings["out"].parent / "file").touch()
    config = RunConfig.create(**{**settings, **FIELDS, "dest": settings["out"].parent / "file"})
    with pytest.raises(UsageError, match=r"--dest .*file: is a file; give a folder for the tables"):
        check_request(config)


def test_temporaries_of_killed_processes_go_at_the_next_start(tmp_path: Path) -> None:
    dead = tmp_path / "records" / ".part-00000.parquet.999999999-0a1b2c3d.tmp"
    alive = tmp_path / f".run.json.{os.getpid()}-0a1b2c3d.tmp"
    other = tmp_path / ".notes.tmp"
    folder = tmp_path / ".0a1b2c3d.999999999-0a1b2c3d.tmp"
    dead.parent.mkdir()
    folder.mkdir()
    (folder / "rows.arrow").write_text("half")
    for file in (dead, alive, other):
        file.write_text("half")
    remove_leftovers_under(tmp_path)
    assert [f.exists() for f in (dead, folder, alive, other)] == [False, False, True, True]


@pytest.mark.skipif(not psutil.POSIX, reason="a killed process is gone at once")
def test_a_killed_process_that_nobody_asked_for_is_gone_too(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    left = tmp_path / f".run.json.{process.pid}-0a1b2c3d.tmp"
    left.write_text("half")
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    remove_leftovers_under(tmp_path)
    assert not left.exists()
    process.wait()


@contextmanager
def without_roots_right_to_write() -> Iterator[None]:
    """Root obeys the modes of files like anybody else (Linux: its capability DAC_OVERRIDE is not in effect)."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, kept = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, kept) == 0
    less = (ctypes.c_uint32 * 6)(*kept)
    less[0] &= ~(1 << 1)
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, kept) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="permissions of files as Linux has them")
def test_a_finished_run_that_cannot_be_written(settings: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """The verbs that read it write elsewhere; asked to write there, they name the file and the way on."""
    out, fields = settings["out"], {**settings, **FIELDS}
    run(**fields)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}

    def said(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["cambench", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        shown = capsys.readouterr()
        return int(left.value.code or 0), shown.out + shown.err

    for folder in (out, *(p for p in out.rglob("*") if p.is_dir())):
        folder.chmod(0o555)
    for file in (p for p in out.rglob("*") if p.is_file()):
        file.chmod(0o444)
    with without_roots_right_to_write():
        assert run(**fields).paths[0] == out / "run.json"
        with pytest.raises(ResultsError, match="cannot be written .*--dest elsewhere"):
            run(**{**fields, "triples": ("slim_resnet/{gradcam,center,layercam}/softmax",)})
        assert run(**fields, dest=tmp_path / "again").paths[1] == tmp_path / "again" / "leaderboard.md"
        assert said("leaderboard", out, "--dest", tmp_path / "tables")[0] == 0
        assert said("report", out, "--dest", tmp_path / "page", "--no-pictures", "--resamples", 20)[0] == 0
        for verb, file in (("leaderboard", "tables/leaderboard.md"), ("report", "report.html")):
            code, text = said(verb, out, "--resamples", 20)
            assert code == 1
            assert f"{out / file}'" in text
            assert "--dest" in text
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    assert (tmp_path / "again" / "scores.csv").read_bytes() == (out / "tables" / "scores.csv").read_bytes()
    assert (tmp_path / "tables" / "scores.csv").read_bytes() == (out / "tables" / "scores.csv").read_bytes()
    assert (tmp_path / "page" / "report.html").stat().st_size > 100_000

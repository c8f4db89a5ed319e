"""A finished run given again is recognised in a moment, on a folder that cannot be written, too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cambench.atomic import remove_leftovers_under
from cambench.bench.engine.again import finished_before
from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.notebook.runs import run
from cambench.datasets.open import DataSource

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
    assert again.paths[0] == out / "run.json"
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


def test_temporaries_of_killed_processes_go_at_the_next_start(tmp_path: Path) -> None:
    dead = tmp_path / "records" / ".part-00000.parquet.999999999-0a1b2c3d.tmp"
    alive = tmp_path / f".run.json.{os.getpid()}-0a1b2c3d.tmp"
    other = tmp_path / ".notes.tmp"
    dead.parent.mkdir()
    for file in (dead, alive, other):
        file.write_text("half")
    remove_leftovers_under(tmp_path)
    assert [f.exists() for f in (dead, alive, other)] == [False, True, True]

"""A protocol whose location threshold comes from val: two runs, then the tables; each run ends well."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cambench.bench.cli.app import app
from cambench.results.records.load import load_run

PROTOCOL = """
from cambench.protocol import PAPER, PROTOCOLS

PROTOCOLS.add("from_val", PAPER.model_copy(update={"name": "from_val", "loc_threshold": "val"}))
"""


def test_both_runs_end_well_and_say_the_commands_that_make_the_tables(settings: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(Path(settings["options"]["metadata"]) / "train", Path(settings["options"]["metadata"]) / "val")
    plugin = tmp_path / "from_val.py"
    plugin.write_text(PROTOCOL)
    words = ["run", "--dataset", "wsol", "--root", settings["root"], "--metadata", settings["options"]["metadata"]]
    words += ["--triples", "slim_resnet/{gradcam,center}/softmax", "--protocol", "from_val", "--plugin", plugin]
    words += ["--device", "cpu", "--workers", 1]

    def call(*more: Any) -> str:
        done = CliRunner().invoke(app, [str(w) for w in more])
        assert done.exit_code == 0, f"{done.output}{done.exception}"
        return done.output

    out = tmp_path / "my runs"
    said = call(*words, "--out", out)
    assert "takes the location threshold from val" in said
    assert "10 of 10 images" in said
    assert load_run(out).manifest.finished
    assert not (out / "tables" / "scores.md").exists()
    found = re.search(r"with (--split val --out .*); then, for the tables: cambench (leaderboard .*)", said)
    assert found is not None, said
    again = call(*words, *shlex.split(found[1]))
    assert f"cambench leaderboard TEST_RUN --val '{out}-val'" in again
    call(*shlex.split(found[2]))
    assert "GT-known Loc" in (out / "tables" / "scores.md").read_text(encoding="utf-8")

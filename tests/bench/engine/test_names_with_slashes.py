"""Networks whose names have slashes, as those of the hub have: in runs, comparisons, reports, heads and file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from typer.testing import CliRunner

import cambench
from cambench.bench.cli.app import app
from cambench.results.report import write_report
from cambench.triple import Triple


def test_a_name_with_slashes_goes_through_everything(settings: dict[str, Any], tmp_path: Path) -> None:
    """timm's ``local-dir:`` stands for ``hf_hub:``, which asks the hub."""
    torch.manual_seed(0)
    folder = tmp_path / "lab" / "small.net"
    save_for_hf(timm.create_model("test_resnet", num_classes=12), folder, safe_serialization=True)
    name = f"timm:local-dir:{folder}"
    out = settings["out"]
    asked = (f"{name}/{{layercam,cam}}/{{softmax,sigmoid}}",)
    result = cambench.run(**settings | {"triples": asked})
    assert [Triple.parse(t).backbone for t in result.triples] == [name] * 4
    first, second = (f"{name}/layercam/{head}" for head in ("softmax", "sigmoid"))
    assert f"{name}/cam/softmax" in result.triples

    # Each name is one folder or file, whatever is in it.
    (records,) = (out / "records").iterdir()
    assert records.is_dir()
    assert "/" not in records.name
    assert len(list((out / "heads").glob("*.safetensors"))) == 1

    assert cambench.load(out).triples == result.triples
    assert len(result.compare(first, second, resamples=20).frame)
    pictures = [settings["root"] / str(name) for name in result.run.image_ids[:2]]
    assert result.explain(first, pictures, device="cpu").triple == first
    assert name in (out / "tables" / "scores.csv").read_text()
    assert name in write_report(out, out / "report.html", resamples=2).read_text()

    line = CliRunner().invoke(app, ["compare", str(out), first, second, "--resamples", "20", "--brief"])
    assert line.exit_code == 0, line.output
    again = cambench.run(**settings | {"triples": asked})
    assert again.triples == result.triples

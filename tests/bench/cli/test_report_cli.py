"""``cambench report`` on a tiny run: pictures from the data set, and what it says where there are none."""

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from cambench.bench.cli.report import report
from cambench.bench.engine.planning.config import map_bytes
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import run as run_benchmark
from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError
from cambench.results.records.load import load_run
from cambench.results.records.markers import mark_path

app = typer.Typer()
app.command()(report)


def invoke(*args):
    result = CliRunner().invoke(app, [str(a) for a in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def data_of(file):
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', file.read_text(encoding="utf-8"), re.S
    )
    (table,) = json.loads(found[1])["sets"]
    return table


@pytest.fixture
def finished(settings):
    """Settings of a run with maps that is done."""
    fields = {**settings, "triples": ("slim_resnet/{cam,center}/softmax",), "limit": 6}
    run_benchmark(**fields)
    return fields


def test_report_shows_the_images_maps_and_boxes_of_the_run(finished):
    out, metadata = finished["out"], finished["options"]["metadata"]
    said = invoke(out, "--root", finished["root"], "--metadata", metadata, "--samples", 4, "--resamples", 10)
    assert "wrote" in said
    explorer = data_of(out / "report.html")["explorer"]
    assert explorer["absent"] == ""
    assert len(explorer["cases"]) == 4
    table = open_table("wsol", finished["root"], "test", metadata=metadata)
    (batch,) = load_batches(table, [c["row"] for c in explorer["cases"]], 224, 8, 0)
    for case, name, boxes in zip(explorer["cases"], batch.image_ids, batch.gt_boxes, strict=True):
        assert case["id"] == name
        assert case["boxes"] == boxes.tolist()
        assert case["image"].startswith("data:image/jpeg;base64,")
    assert all(len(record["maps"]["data"]) == 4 for record in explorer["records"])
    # The control is a finished mask, which the page must not stretch; the CAM is not.
    assert [record["finished"] for record in explorer["records"]] == [False, True]


def test_report_without_the_data_says_so(finished, tmp_path):
    file = tmp_path / "r.html"
    said = invoke(finished["out"], "--out", file, "--resamples", 10)
    assert "no pictures" not in said, "the run says where its data are"
    finished["root"].rename(tmp_path / "elsewhere")
    said = invoke(finished["out"], "--out", file, "--resamples", 10)
    assert "no pictures" in said
    data = data_of(file)
    assert "--root" in data["explorer"]["absent"]
    assert [t["id"] for t in data["triples"]] == ["slim_resnet/cam/softmax", "slim_resnet/center/softmax"]
    invoke(finished["out"], "--out", file, "--no-pictures", "--resamples", 10)
    assert "--no-pictures" in data_of(file)["explorer"]["absent"]


def test_other_data_are_refused(finished, tmp_path):
    metadata = tmp_path / "metadata"
    lines = (metadata / "test" / "class_labels.txt").read_text().splitlines()
    changed = [line.rsplit(",", 1)[0] + ",3" for line in lines]
    (metadata / "test" / "class_labels.txt").write_text("\n".join(changed) + "\n")
    with pytest.raises(UsageError, match="another fingerprint"):
        invoke(finished["out"], "--root", finished["root"], "--metadata", metadata)
    with pytest.raises(DatasetError, match="does not exist"):
        invoke(finished["out"], "--root", tmp_path / "nowhere", "--metadata", metadata)


def test_maps_are_stored_unasked_where_they_are_small(finished):
    assert map_bytes(None, 50_000) >= 4 * 14 * 14, "ImageNet's validation images at ResNet-50's resolution"
    assert map_bytes(None, 50_000) < 4 * 224 * 224
    assert map_bytes(True, 10**9) > 4 * 224 * 224
    assert load_run(finished["out"]).column("slim_resnet/cam/softmax", "map").shape == (6, 14, 14)
    bare = run_benchmark(**finished | {"out": finished["out"].with_name("bare"), "keep_maps": False})
    assert not bare.run.has_column("slim_resnet/cam/softmax", "map")


def test_sessions_that_kept_maps_and_sessions_that_did_not_make_one_report(finished):
    mark_path(finished["out"], "slim_resnet", 1).unlink()
    run_benchmark(**finished | {"keep_maps": False})
    metadata = finished["options"]["metadata"]
    invoke(finished["out"], "--root", finished["root"], "--metadata", metadata, "--resamples", 10)
    explorer = data_of(finished["out"] / "report.html")["explorer"]
    assert len(explorer["cases"]) == 6
    assert all(record["maps"] is None for record in explorer["records"])

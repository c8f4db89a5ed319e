"""The factorial head × clamp × sign × resize."""

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from cambench.bench.cli.paper import factorial as command
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import run
from cambench.bench.paper import factorial as factorials
from cambench.bench.paper.effects import FACTORS, Contrast, verdict
from cambench.bench.paper.factorial import factorial
from cambench.bench.paper.requests import FactorialRequest
from cambench.protocol import PROTOCOLS
from cambench.results.scores.shown import score_run

METRIC = "average_drop"


@pytest.fixture
def small(settings, tmp_path):
    fields = {k: v for k, v in settings.items() if k not in ("triples", "out")}
    recipe = tmp_path / "head.yaml"
    recipe.write_text(
        "name: tiny\nsource: a test\nepochs: 2\nbatch_size: 4\nsize: 64\n"
        "optimiser: {name: sgd, lr: 0.05, weight_decay: 0.0}\nschedule: {kind: step}\naugment: null\n"
    )
    return {**fields, "backbone": "slim_resnet", "cam": "gradcam", "head_recipe": str(recipe), "limit": 4}


def test_one_table_and_main_effects_of_every_factor(small, settings, tmp_path):
    request = FactorialRequest.create(**small, out=tmp_path / "f", resamples=20)
    paths = factorial(request)
    frame = pd.read_csv(tmp_path / "f/factorial.csv")
    assert len(frame) == 2 * 2 * 2 * 3 == len(frame.drop_duplicates(list(FACTORS)))

    # A run outside the factorial, with the same trained branch, has the numbers of its own cell.
    head = tmp_path / "f/signed-bicubic/heads/slim_resnet.sigmoid.safetensors"
    fields = {**settings, "limit": 4, "out": tmp_path / "alone", "head_weights": {"*": head}}
    alone = run(**{**fields, "triples": ("slim_resnet/gradcam/sigmoid",), "protocol": "paper"}).run
    records = alone.records("slim_resnet/gradcam/sigmoid")
    y, o = records["y"], records["o"]
    cell = frame[(frame["head"] == "sigmoid") & (frame.clamp == "on") & (frame.sign == "relu")]
    cell = cell[cell.resize == "bicubic"].iloc[0]
    assert cell[METRIC] == pytest.approx(100 * (np.maximum(y - o, 0) / y).mean(), abs=1e-5)

    lines = [
        [cell.strip().replace("\\", "") for cell in line.split("|")[1:-1]]
        for line in (tmp_path / "f/factorial.md").read_text().splitlines()
    ]
    head = next(line for line in lines if "head: sigmoid − softmax" in line)
    row = [line for line in lines if line and line[0].startswith("Avg Drop")][1]
    for factor, levels in FACTORS.items():
        means = frame.groupby(factor)[METRIC].mean()
        for level in levels[1:]:
            printed = float(row[head.index(f"{factor}: {level} − {levels[0]}")].split(" ")[0])
            assert printed == pytest.approx(means[level] - means[levels[0]], abs=0.006)

    # The answer is that of the protocol's own map rule: ReLU, bicubic.
    cells = frame[(frame.sign == "relu") & (frame.resize == "bicubic")].set_index(["head", "clamp"])[METRIC]
    answer = next(line for line in lines if line and line[0].startswith("Avg Drop"))
    both, sigmoid, clamp, interaction = (float(text.split(" ")[0]) for text in answer[1:5])
    assert both == pytest.approx(cells["sigmoid", "on"] - cells["softmax", "off"], abs=0.006)
    assert sigmoid + clamp == pytest.approx(both, abs=0.011)
    alone = [cells["sigmoid", c] - cells["softmax", c] for c in ("off", "on")]
    assert sigmoid == pytest.approx(sum(alone) / 2, abs=0.006)
    assert interaction == pytest.approx(alone[1] - alone[0], abs=0.006)
    kept = list((tmp_path / "f").glob("*/heads/*.safetensors"))
    assert {p.parent.parent.name for p in kept} == {"signed-bicubic"}, "branches are trained once"

    before = [p.read_bytes() for p in paths]
    assert [
        p.read_bytes() for p in factorial(FactorialRequest.create(**small, out=tmp_path / "f", resamples=20))
    ] == before


@pytest.mark.slow
def test_every_axis_is_that_of_a_run_under_its_protocol(small, settings, tmp_path):
    axes = ("geometry", "no_contour", "loc_reference")
    factorial(FactorialRequest.create(**small, out=tmp_path / "f", resamples=20, axes=axes))
    frame = pd.read_csv(tmp_path / "f/factorial.csv")
    assert len(frame) == 2 * 2 * 2 * 3 * 2**3 == len(frame.drop_duplicates([*FACTORS, *axes]))
    # One cell by a run of its own: Rethinking CAM's geometry, percentile and whole map, with the paper's other fields.
    paper = PROTOCOLS.get("paper")
    fields = {"name": "test-cell", "crop_from": 256, "no_contour": "whole", "loc_reference": "percentile"}
    PROTOCOLS.add("test-cell", paper.model_copy(update=fields), origin=__name__)
    head = tmp_path / "f/signed-bicubic-squash/heads/slim_resnet.sigmoid.safetensors"
    alone = {**settings, "limit": 4, "out": tmp_path / "alone", "head_weights": {"*": head}, "protocol": "test-cell"}
    found = run(**{**alone, "triples": ("slim_resnet/gradcam/sigmoid",)})
    scores = score_run(found.run).scores["slim_resnet/gradcam/sigmoid"]
    cell = frame[(frame["head"] == "sigmoid") & (frame.clamp == "on") & (frame.sign == "relu")]
    cell = cell[(cell.resize == "bicubic") & (cell.geometry == "crop") & (cell.no_contour == "whole")]
    cell = cell[cell.loc_reference == "percentile"].iloc[0]
    for metric in ("gt_known_loc", "max_box_acc_v2", METRIC):
        assert cell[metric] == pytest.approx(scores[metric], abs=1e-4), metric


def test_a_level_with_brackets_has_a_name():
    """The factorial over normalisations ended at ivr(45), behind seven of its sixteen readings."""
    levels = {"normalisation": "ivr(45)", "no_contour": "zero"}
    name = factorials._derived(PROTOCOLS.get("paper"), "signed", "bicubic", levels)
    assert name == "paper+signed+bicubic+ivr45+zero"
    assert (PROTOCOLS.get(name).map_rule.normalisation, PROTOCOLS.get(name).no_contour) == ("ivr(45)", "zero")


def test_command_line(small, blobs, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("cambench.bench.paper.factorial.run", lambda config: seen.update(config=config) or 1 / 0)
    app = typer.Typer()
    app.command()(command)
    line = f"--backbone slim_vgg --dataset wsol --root {blobs[0]} --metadata {blobs[1]} --out {tmp_path} --limit 3"
    result = CliRunner().invoke(app, line.split())
    assert isinstance(result.exception, ZeroDivisionError)
    config = seen["config"]
    assert config.options == {"metadata": str(blobs[1])}
    assert config.limit == 3
    assert set(config.triples) == {
        f"slim_vgg/gradcam/{h}" for h in ("softmax", "softmax_clamped", "sigmoid", "sigmoid_signed")
    }


def test_what_it_decides_is_not_asked_for(small, tmp_path):
    with pytest.raises(UsageError, match="triples"):
        FactorialRequest.create(**small, out=tmp_path / "f", triples=("a/b/c",))


@pytest.mark.parametrize(
    ("both", "sigmoid", "clamp", "higher", "words"),
    [
        ((2, 5), (1, 3), (-1, 2), True, "the sigmoid's"),
        ((2, 5), (-4, -1), (4, 8), True, "the clamp's"),
        ((-5, -2), (-3, -1), (-2, -1), False, "both"),
        ((-5, -2), (-3, -1), (-2, -1), True, "none: a loss"),
        ((-1, 2), (1, 2), (-3, 1), True, "none"),
        ((1, 2), (-1, 2), (-1, 2), True, "unclear"),
    ],
)
def test_the_gain_is_whose_interval_bears_it_out(both, sigmoid, clamp, higher, words):
    parts = {
        name: Contrast(sum(ends) / 2, *ends)
        for name, ends in zip(("both", "sigmoid", "clamp"), (both, sigmoid, clamp), strict=True)
    }
    assert verdict(parts, higher) == words

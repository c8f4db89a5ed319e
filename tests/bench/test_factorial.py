"""The factorial head × clamp × sign × resize."""

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from cambench.bench.cli_paper import factorial as command
from cambench.bench.errors import UsageError
from cambench.bench.factorial import FACTORS, factorial
from cambench.bench.run import run

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
    paths = factorial(**small, out=tmp_path / "f", resamples=20)
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

    text = (tmp_path / "f/factorial.md").read_text()
    position = next(i for i, line in enumerate(text.splitlines()) if "| Factor" in line)
    heads = [h.strip() for h in text.splitlines()[position].split("|")]
    for line in text.splitlines()[position + 2 : position + 7]:
        values = [v.strip() for v in line.split("|")]
        factor, levels = values[1], values[2].replace("\\", "").split(" − ")
        means = frame.groupby(factor)[METRIC].mean()
        column = next(i for i, h in enumerate(heads) if h.startswith("Avg Drop"))
        printed = float(values[column].replace("\\", "").split(" ")[0])
        assert printed == pytest.approx(means[levels[0]] - means[levels[1]], abs=0.006)

    before = [p.read_bytes() for p in paths]
    assert [p.read_bytes() for p in factorial(**small, out=tmp_path / "f", resamples=20)] == before


def test_command_line(small, blobs, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("cambench.bench.factorial.run", lambda config: seen.update(config=config) or 1 / 0)
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
        factorial(**small, out=tmp_path / "f", triples=("a/b/c",))

"""A metric of one's own: chosen by pattern, stored per image, averaged in the tables, part of the run's key."""

import pytest
import torch

from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import IncompleteRunError, run
from cambench.metrics.spec import METRICS, MetricSpec, register_metric
from cambench.registry import UnknownNameError
from cambench.results.records.record_errors import RunMismatchError


@pytest.fixture
def register(monkeypatch):
    added = []

    def add(name, per_image, **facts):
        register_metric(MetricSpec(name, name.title(), True, "%", "a test", per_image=per_image, **facts))
        added.append(name)

    yield add
    for name in added:
        METRICS._entries.pop(name)
        METRICS._origin.pop(name)


def test_a_metric_of_ones_own(settings, register):
    register("brightness", lambda batch: batch.maps.mean((1, 2)))
    register("rescored", lambda batch: batch.score(batch.pixels, torch.arange(len(batch.maps))))
    result = run(**settings).run
    for triple in result.triples:
        brightness = result.column(triple, "extra:brightness")
        assert ((brightness >= 0) & (brightness <= 1)).all()
        assert result.column(triple, "extra:rescored") == pytest.approx(result.column(triple, "y"), rel=1e-4)
    text = (settings["out"] / "tables" / "scores.md").read_text()
    assert "Brightness" in text
    mean = 100 * result.column("slim_resnet/cam/softmax", "extra:brightness").mean()
    assert f"{mean:.2f}" in text


def test_expensive_metrics_run_only_by_name(settings, register):
    register("slow", lambda batch: batch.maps.mean((1, 2)), expensive=True)
    result = run(**settings).run
    assert "extra:slow" not in result.columns("slim_resnet/cam/softmax")
    with pytest.raises(RunMismatchError, match="metrics"):
        run(**{**settings, "metrics": ("slow",)})
    result = run(**{**settings, "metrics": ("slow",), "out": settings["out"].with_name("b")}).run
    assert "extra:slow" in result.columns("slim_resnet/cam/softmax")


def test_bad_metrics_are_said(settings, register):
    register("shape", lambda batch: batch.maps)
    register("nan", lambda batch: batch.maps.mean((1, 2)) * float("nan"))
    register("needy", lambda batch: batch.masks.double().mean((1, 2)), needs=("masks",))
    shape = r"metric shape: on the maps of \S+, image test/000.jpg: returned torch.float64 of shape \(4, 224, 224\)"
    with pytest.raises(IncompleteRunError, match=shape):
        run(**{**settings, "metrics": ("shape",)})
    with pytest.raises(IncompleteRunError, match="metric nan: .* image test/000.jpg: .* not a finite number"):
        run(**{**settings, "metrics": ("nan",), "out": settings["out"].with_name("b")})
    with pytest.raises(UsageError, match="metric needy needs masks, which"):
        run(**{**settings, "metrics": ("needy",)})
    with pytest.raises(UnknownNameError, match="did you mean 'needy'"):
        run(**{**settings, "metrics": ("nedy",)})


def test_pointing_games_and_curves(settings, blobs):
    settings["triples"] = ("slim_resnet/{cam,center}/softmax",)
    named = ("pointing_game", "energy_pointing_game", "deletion", "insertion")
    result = run(**{**settings, "metrics": named, "limit": 2}).run
    y = result.column("slim_resnet/cam/softmax", "y")
    for name in named:
        values = result.column("slim_resnet/cam/softmax", f"extra:{name}")
        assert ((values >= 0) & (values <= 1)).all()
    assert set(result.column("slim_resnet/center/softmax", "extra:pointing_game")) <= {0.0, 1.0}
    assert (result.column("slim_resnet/cam/softmax", "extra:deletion") <= y.max() + 1).all()


def test_the_cheap_pointing_games_are_always_there(settings):
    text = (run(**settings).run.out / "tables" / "scores.csv").read_text()
    assert "pointing_game" in text
    assert "Deletion" not in text

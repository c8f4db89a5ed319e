"""Score against cost: who is on the front, and what the figure shows."""

import itertools

import numpy as np
import pytest

from cambench.bench.figures.pareto import declared_costs, draw_pareto, measured_costs
from cambench.bench.host.errors import UsageError
from cambench.registry import UnknownNameError
from cambench.results.figures.front import Point, pareto_figure, pareto_front, pareto_points
from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.records.timings import BackboneTiming, Timings, TripleTiming
from cambench.results.scores.merge import merge_runs


@pytest.mark.parametrize("higher", [True, False])
def test_the_front_is_what_no_point_beats(higher):
    rng = np.random.default_rng(3)
    points = [Point(f"n/{i}/h", float(c), float(s)) for i, (c, s) in enumerate(rng.integers(0, 12, (60, 2)))]
    sign = 1 if higher else -1

    def beats(a, b):
        no_worse = a.cost <= b.cost and sign * a.score >= sign * b.score
        return no_worse and (a.cost, a.score) != (b.cost, b.score)

    unbeaten = {(p.cost, p.score) for p in points if not any(beats(q, p) for q in points)}
    front = pareto_front(points, higher_is_better=higher)
    assert {(p.cost, p.score) for p in front} == unbeaten
    assert len(front) == len(unbeaten)
    assert all(a.cost < b.cost for a, b in itertools.pairwise(front))


def timed_run(toy, out):
    """The toy run, with a timing for two of its triples and declared costs for two of its methods."""
    manifest = toy.manifest()
    cams = manifest.cams
    manifest.cams["cam"] = cams["cam"].model_copy(update={"cost": "1 forward"})
    manifest.cams["gradcam"] = cams["gradcam"].model_copy(update={"cost": "1 + N forwards; a remark"})
    manifest.cams["random"] = cams["random"].model_copy(update={"title": "$x$ <b>", "cost": "who knows"})
    timings = Timings(
        backbones={"net": BackboneTiming(device="cpu", batch_size=1, feature_shape=(40, 7, 7))},
        triples={
            t: TripleTiming(ms_per_image=1, images_per_s=1, map_forwards=f)
            for t, f in (("net/cam/softmax", 1.02), ("net/gradcam/sigmoid", 41.5), ("net/random/softmax", 0.1))
        },
    )
    with RunStore.open(out, manifest) as store:
        for shard in range(3):
            toy.write(store, "net", shard)
        store.finish(timings=timings)
    return merge_runs([load_run(out)])


def test_costs_are_measured_or_declared(toy, tmp_path):
    merged = timed_run(toy, tmp_path / "run")
    # An alias costs what the triple costs whose records it shares.
    assert measured_costs(merged) == {
        "net/cam/softmax": 1.02,
        "net/gradcam/softmax": 1.02,
        "net/gradcam/sigmoid": 41.5,
        "net/random/softmax": 0.1,
    }
    assert declared_costs(merged) == {
        "net/cam/softmax": 1,
        "net/cam/sigmoid": 1,
        "net/gradcam/softmax": 41,
        "net/gradcam/sigmoid": 41,
    }


def test_the_figure_has_every_point_once_and_its_interval(toy, tmp_path):
    merged = timed_run(toy, tmp_path / "run")
    metric = next(m for m in merged.metrics if m.name == "pxap")
    groups = pareto_points(merged, "pxap", measured_costs(merged), {})
    figure = pareto_figure(merged, metric, groups, "cost")
    (ax,) = [a for a in figure.axes if a.get_visible()]
    drawn = {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_linestyle() == "None"}
    assert drawn == {
        (cost, merged.scores[t]["pxap"])
        for t, cost in (("net/cam/softmax", 1.02), ("net/gradcam/sigmoid", 41.5), ("net/random/softmax", 0.1))
    }
    assert ax.get_xscale() == "symlog"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert r"\$x\$ <b>" in labels


@pytest.mark.parametrize("methods", [3, 31])
def test_the_legend_is_inside_the_figure_and_colours_differ(toy, tmp_path, methods):
    merged = timed_run(toy, tmp_path / "run")
    manifest = merged.manifest("net/cam/softmax")
    title = "Guided back-propagation"
    for k in range(methods):
        manifest.cams[f"m{k}"] = manifest.cams["cam"].model_copy(update={"title": f"{title} {k}"})
        merged._home[f"net/m{k}/softmax"] = merged._home["net/cam/softmax"]
    metric = next(m for m in merged.metrics if m.name == "pxap")
    points = [Point(f"net/{name}/softmax", 1.0, 50.0) for name in ("cam", *(f"m{k}" for k in range(methods)))]
    figure = pareto_figure(merged, metric, {"net": points}, "cost")
    figure.draw_without_rendering()
    legend, (ax,) = figure.legends[0].get_window_extent(), figure.axes
    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= legend.y0 < legend.y1 <= ax.get_window_extent().y0
    assert ax.get_window_extent().height > 0.5 * figure.dpi * 3
    lines = figure.legends[0].get_lines()[: methods + 1]
    assert len({line.get_color() for line in lines}) == methods + 1


def test_files_and_errors(toy, tmp_path):
    timed_run(toy, tmp_path / "run")
    options = {"resamples": 20, "seed": 0, "dpi": 40}
    files = draw_pareto([tmp_path / "run"], tmp_path / "pareto", None, "measured", **options)
    assert [f.suffix for f in files] == [".png", ".pdf"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    first = files[0].read_bytes()
    draw_pareto([tmp_path / "run"], tmp_path / "pareto.png", "max_box_acc_v2", "measured", **options)
    assert files[0].read_bytes() == first, "the same records give the same bytes"
    with pytest.raises(UnknownNameError, match="pxap"):
        draw_pareto([tmp_path / "run"], tmp_path / "x.png", "pxab", "measured", **options)
    with pytest.raises(UsageError, match="png or .pdf"):
        draw_pareto([tmp_path / "run"], tmp_path / "x.svg", None, "measured", **options)
    toy.fill(tmp_path / "bare", toy.manifest())
    with pytest.raises(UsageError, match="no triple has both"):
        draw_pareto([tmp_path / "bare"], tmp_path / "x.png", None, "measured", **options)

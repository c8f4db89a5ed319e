"""Score against cost: who is on the front, and what the figure shows."""

import itertools

import numpy as np
import pytest

from cambench.bench.figures.pareto import ParetoRequest, declared_costs, draw_pareto, measured_costs
from cambench.bench.host.errors import UsageError
from cambench.registry import UnknownNameError
from cambench.results.figures.figure_style import drawing, style_named
from cambench.results.figures.front import Point, pareto_figure, pareto_front, pareto_points
from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.records.timings import BackboneTiming, Timings, TripleTiming
from cambench.results.scores.merge import merge_runs
from cambench.results.tables.look import head_looks


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


def test_measured_costs_that_hardly_differ_count_as_equal():
    points = [Point(f"n/{c}/h", c, s) for c, s in ((1.0, 60.0), (1.04, 61.0), (1.2, 61.5), (1.21, 61.4), (3.0, 61.6))]
    assert [p.cost for p in pareto_front(points, higher_is_better=True)] == [1.0, 1.04, 1.2, 3.0]
    assert [p.cost for p in pareto_front(points, higher_is_better=True, within=0.05)] == [1.04, 1.2, 3.0]
    assert [p.cost for p in pareto_front(points, higher_is_better=False, within=0.05)] == [1.0]


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
    assert ax.get_xscale() == "log"
    left, right = ax.get_xlim()
    assert 0.1 < left < 1.02, "a control that costs nothing does not stretch the axis"
    assert right > 41.5
    assert r"off the scale: \$x\$ <b>" in ax.get_xlabel(), "and is named with its score"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2:] == ["control", "front: best at its cost"]


@pytest.mark.parametrize("style", ["paper", "screen"])
def test_what_is_off_the_scale_stays_below_its_panel(toy, tmp_path, style):
    merged = timed_run(toy, tmp_path / "run")
    points = [Point("net/cam/softmax", 1.0, 60.0)]
    for k in range(9):
        cams = merged.manifest("net/cam/softmax").cams
        cams[f"c{k}"] = cams["random"].model_copy(update={"title": f"Control number {k}"})
        merged._home[f"net/c{k}/softmax"] = merged._home["net/cam/softmax"]
        points.append(Point(f"net/c{k}/softmax", 0.1, 1.0 + k))
    metric = next(m for m in merged.metrics if m.name == "pxap")
    with drawing(style_named(style)):
        figure = pareto_figure(merged, metric, {"net": points, "other": points}, "cost", style_named(style))
        figure.draw_without_rendering()
        below = [ax.xaxis.label.get_window_extent() for ax in figure.axes]
        panels = [ax.get_window_extent() for ax in figure.axes]
    assert "Control number 8" in figure.axes[0].get_xlabel()
    assert below[0].x1 < panels[1].x0, "it does not reach into the next panel"
    assert below[1].x1 <= figure.bbox.x1


@pytest.mark.parametrize("style", ["paper", "screen"])
def test_the_front_is_named_inside_its_panel_and_no_name_is_on_another(toy, tmp_path, style):
    merged = timed_run(toy, tmp_path / "run")
    manifest = merged.manifest("net/cam/softmax")
    for k in range(6):
        manifest.cams[f"m{k}"] = manifest.cams["cam"].model_copy(update={"title": f"Guided back-propagation {k}"})
        merged._home[f"net/m{k}/softmax"] = merged._home["net/cam/softmax"]
    metric = next(m for m in merged.metrics if m.name == "pxap")
    # Close in both, the last at the right and upper end.
    points = [Point(f"net/m{k}/softmax", 1.0 + 0.01 * k, 50.0 + 0.1 * k) for k in range(6)]
    with drawing(style_named(style)):
        figure = pareto_figure(merged, metric, {"net": points}, "cost", style_named(style))
        figure.draw_without_rendering()
        (ax,) = figure.axes
        panel, legend = ax.get_window_extent(), figure.legends[0].get_window_extent()
        names = [text.get_window_extent() for text in ax.texts]
    assert len(names) == 6
    assert all(panel.x0 <= n.x0 and n.x1 <= panel.x1 + 1 and n.y1 <= panel.y1 + 4 for n in names)
    assert not any(a.overlaps(b) for a, b in itertools.combinations([n.shrunk(1, 0.7) for n in names], 2))
    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert panel.y1 <= legend.y0 < legend.y1 <= figure.bbox.y1


def test_heads_have_fixed_looks_and_others_their_own():
    known, new = head_looks(["sigmoid", "mine", "softmax"]), head_looks(["softmax", "other", "mine"])
    assert known["softmax"] == new["softmax"]
    assert len({look.light for look in new.values()}) == len({look.marker for look in new.values()}) == 3
    assert known["mine"].light not in (known["softmax"].light, known["sigmoid"].light)


def test_files_and_errors(toy, tmp_path):
    timed_run(toy, tmp_path / "run")

    def draw(name, run="run", **fields):
        request = ParetoRequest.create(runs=(tmp_path / run,), out=tmp_path / name, resamples=20, dpi=40, **fields)
        return draw_pareto(request)

    files = draw("pareto")
    assert [f.suffix for f in files] == [".png", ".pdf", ".svg"]
    vector = files[2].read_bytes()
    assert b"<svg" in vector
    assert files[0].read_bytes().startswith(b"\x89PNG")
    first = files[0].read_bytes()
    draw("pareto.png", metric="max_box_acc_v2")
    assert files[0].read_bytes() == first, "the same records give the same bytes"
    (again,) = draw("again.svg")
    assert again.read_bytes() == vector
    with pytest.raises(UsageError, match="style 'poster': expected 'paper' or 'screen'"):
        draw("x.png", style="poster")
    with pytest.raises(UnknownNameError, match="pxap"):
        draw("x.png", metric="pxab")
    with pytest.raises(UsageError, match=".pdf or .svg"):
        draw("x.gif")
    toy.fill(tmp_path / "bare", toy.manifest())
    with pytest.raises(UsageError, match="no triple has both"):
        draw("x.png", "bare")

"""A control that no method beats: whether the metric cannot tell, or the images are too few."""

from types import SimpleNamespace

import numpy as np
import pytest

from cambench.results.scores.shown import METRICS
from cambench.results.statistics.discrimination import unbeaten_control
from cambench.triple import Triple

METHOD, CONTROL = "net/gradcam/softmax", "net/random/softmax"


def found(name, method, control, spread, images=24):
    """The control unbeaten in a metric, of a method and a control with these scores."""
    metric = next(m for m in METRICS if m.name == name)
    rng = np.random.default_rng(0)
    scores = {METHOD: method, CONTROL: control}
    boot = SimpleNamespace(
        points={t: {name: score} for t, score in scores.items()},
        samples={t: {name: score + spread * rng.standard_normal(500)} for t, score in scores.items()},
        plan=SimpleNamespace(images=images),
    )
    return unbeaten_control(boot, metric, {CONTROL: Triple.parse(CONTROL)}, [METHOD], [])


@pytest.mark.parametrize(("name", "method", "control"), [("gt_known_loc", 45.83, 16.67), ("average_drop", 10.0, 39.16)])
def test_a_method_far_ahead_needs_more_images_not_a_reason(name, method, control):
    ahead = found(name, method, control, spread=8)
    assert ahead.too_few
    sentence = ahead.sentence("Random", "Grad-CAM")
    assert "24 images are too few to tell the methods from a control" in sentence
    assert "without looking" not in sentence
    assert found(name, method, control, spread=40).too_few, "the control does not do well, however wide the interval"
    near = method + 0.05 * (control - method)
    for other in (found(name, method, near, spread=40), found(name, control, method, spread=8)):
        assert not other.too_few, "the control is close, or ahead: the metric does not tell"
        assert "does not discriminate on this data" in other.sentence("Random", "Grad-CAM")
    assert found(name, method, near, spread=40, images=5).too_few

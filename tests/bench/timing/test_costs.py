"""What a map costs alone: read off the parts of a shared pass."""

import pytest

from cambench.bench.engine.scoring.clock import Sample, triple_timings
from cambench.triple import Triple

GRADCAM, OTHER, EIGEN, CENTER = (Triple("net", cam, "softmax") for cam in ("gradcam", "layercam", "eigencam", "center"))


def sample(forward):
    one = Sample(images=2)
    one.spent.update(
        {
            ("forward", None): forward,
            ("heads", "softmax"): 2.0,
            ("heads", "sigmoid"): 70.0,
            ("maps", GRADCAM): 1.0,
            ("maps", OTHER): 90.0,
            ("maps", EIGEN): 5.0,
            ("maps", CENTER): 0.5,
            ("boxes", GRADCAM): 40.0,
        }
    )
    return one


def test_a_map_pays_for_what_it_needs_and_for_nothing_else():
    found = triple_timings([sample(10.0), sample(10.0), sample(20.0)], [GRADCAM, EIGEN, CENTER])
    assert found[str(GRADCAM)].map_forwards == pytest.approx((10 + 2 + 1) / 10)
    assert found[str(EIGEN)].map_forwards == pytest.approx((10 + 5) / 10)
    assert found[str(CENTER)].map_forwards == pytest.approx(0.05)
    # The whole triple also pays for its boxes.
    assert found[str(GRADCAM)].forwards == pytest.approx((10 + 2 + 1 + 40) / 10)

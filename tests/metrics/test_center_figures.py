"""The two scores of a centred Gaussian on the complete published metadata, known from independent arithmetic."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cambench.metrics import MaxBoxAccV2
from cambench.metrics.functional.boxes import quantize
from cambench.metrics.functional.maps import min_max
from cambench.protocol import PROTOCOLS

METADATA = Path(__file__).parents[2].parent / "shared" / "data" / "wsol_metadata"
SIDE, BATCH = 224, 2048


def published_boxes(folder):
    """Boxes (K,4) int64 of every image, in pixels of the squashed 224×224 frame, truncated as wsolevaluation does."""
    sizes = {
        name: (int(w), int(h))
        for name, w, h in (line.rsplit(",", 2) for line in (folder / "image_sizes.txt").read_text().splitlines())
    }
    boxes = {}
    for line in (folder / "localization.txt").read_text().splitlines():
        name, *corners = line.rsplit(",", 4)
        across, down = sizes[name]
        scale = (across, down, across, down)
        boxes.setdefault(name, []).append([int(int(c) * SIDE / s) for c, s in zip(corners, scale, strict=True)])
    return [np.array(rows, np.int64) for rows in boxes.values()]


@pytest.mark.slow
@pytest.mark.skipif(not METADATA.exists(), reason="the published metadata are not here")
@pytest.mark.parametrize(
    ("split", "images", "each", "mean"),
    [("CUB/test", 5794, (93.91, 59.60, 17.00), 56.83), ("ILSVRC/test", 50_000, (76.81, 54.06, 29.28), 53.39)],
)
def test_a_centred_gaussian_scores_as_independent_arithmetic_says(split, images, each, mean):
    axis = torch.exp(-((torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2) ** 2) / (2 * (SIDE / 4) ** 2))
    levels = quantize(min_max((axis[:, None] * axis)[None])[0])
    metric = MaxBoxAccV2(PROTOCOLS.get("wsoleval"))
    boxes = published_boxes(METADATA / split)
    assert len(boxes) == images
    for start in range(0, images, BATCH):
        rows = boxes[start : start + BATCH]
        metric.update(levels.expand(len(rows), -1, -1), rows)
    found = [float(metric.curve(delta, "multi").max()) for delta in (0.3, 0.5, 0.7)]
    assert found == pytest.approx(each, abs=0.005)
    assert float(metric.compute()) == pytest.approx(mean, abs=0.005)

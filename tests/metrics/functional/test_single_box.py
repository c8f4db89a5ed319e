"""The one box of a picture against OpenCV's contours, and against the curves of every threshold."""

import cv2
import numpy as np
import pytest
import torch

from cambench.metrics.functional.boxes import level_ious
from cambench.metrics.functional.single_box import threshold_boxes


def noisy_levels(seed, sigma):
    rng = np.random.default_rng(seed)
    noise = rng.random((40, 50))
    if sigma:
        noise = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.floor(255 * (noise - noise.min()) / (noise.max() - noise.min())).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0, 0.7, 2, 6])
def test_the_box_is_that_of_the_largest_contour(sigma):
    compared = 0
    for seed in range(25):
        levels = noisy_levels(seed, sigma)
        for tau in (0.0, 0.2, 0.5, 0.8, 0.95):
            mask = (levels > int(tau * levels.max())).astype(np.uint8)
            contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            areas = sorted((cv2.contourArea(c) for c in contours), reverse=True)
            box = threshold_boxes(torch.from_numpy(levels)[None], tau)[0].tolist()
            if len(areas) > 1 and areas[0] == areas[1]:
                continue
            x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
            assert box == [x, y, min(x + w, 49), min(y + h, 39)]
            curves = level_ious(torch.from_numpy(levels)[None], [np.array([box])])
            assert curves.single[0, int(tau * levels.max())] == 1, "the scored box is the drawn one"
            compared += 1
    assert compared > 80


def test_rings_are_filled_and_nothing_above_is_the_zero_box():
    ring = np.zeros((1, 20, 20), np.uint8)
    cv2.circle(ring[0], (6, 6), 5, 255, 1)
    ring[0, 14:18, 14:18] = 255
    assert threshold_boxes(torch.from_numpy(ring), 0.5)[0].tolist() == [1, 1, 12, 12]
    assert threshold_boxes(torch.from_numpy(ring), 1.0)[0].tolist() == [0, 0, 0, 0]
    assert threshold_boxes(torch.zeros(2, 5, 5, dtype=torch.uint8), 0.2).tolist() == [[0] * 4] * 2


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="1.5"):
        threshold_boxes(torch.zeros(1, 5, 5, dtype=torch.uint8), 1.5)
    with pytest.raises(TypeError, match="uint8"):
        threshold_boxes(torch.zeros(1, 5, 5), 0.5)

"""Slow reference written from the published rules (SEMANTICS §3, §4): OpenCV contours, one threshold at a time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

ZERO_BOX = (0, 0, 0, 0)


def contour_boxes(mask, largest_only):
    """Boxes x0, y0, x1, y1 of a binary mask's contours: all of them, or the one of largest area."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [ZERO_BOX]
    if largest_only:
        contours = [max(contours, key=cv2.contourArea)]
    height, width = mask.shape
    boxes = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append((x, y, min(x + w, width - 1), min(y + h, height - 1)))
    return boxes


def inclusive_iou(a, b):
    """IoU of two boxes whose right and bottom edges belong to them."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return int(w * h) / int(area_a + area_b - w * h)


def best(boxes, gt):
    return max((inclusive_iou(b, g) for b in boxes for g in gt), default=0.0)


def slow_level_ious(levels, gt):
    """(3,256) float64: multi, single, single_first of one map uint8 (H,W); one findContours per distinct level."""
    curves = np.zeros((3, 256))
    values = set(np.unique(levels).tolist())
    for level in range(256):
        if level > 0 and level not in values:
            curves[:, level] = curves[:, level - 1]
            continue
        mask = levels > level
        single = contour_boxes(mask, largest_only=True)
        curves[:, level] = best(contour_boxes(mask, False), gt), best(single, gt), best(single, gt[:1])
    return curves


def threshold_ious(score_map, gt, taus, largest_only):
    """Best IoU per threshold of one map float64 in [0, 1], the way the published evaluators do it."""
    quantised = (score_map * 255).astype(np.uint8)
    out = np.empty(len(taus))
    for i, tau in enumerate(taus):
        mask = quantised > int(tau * quantised.max())
        out[i] = fast_best(np.array(contour_boxes(mask, largest_only)), gt)
    return out


def fast_best(boxes, gt):
    """``best`` vectorised over boxes (N,4) and ground truth (K,4), as the published evaluators do."""
    a, b = np.asarray(boxes)[:, None], np.asarray(gt)[None]
    w = np.maximum(0, np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + 1)
    h = np.maximum(0, np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + 1)
    area = [(c[..., 2] - c[..., 0] + 1) * (c[..., 3] - c[..., 1] + 1) for c in (a, b)]
    return float((w * h / (area[0] + area[1] - w * h)).max())


def published_min_max(raw):
    """Min-max of one map float64; zeros where it is constant or holds NaN."""
    if np.isnan(raw).any() or raw.min() == raw.max():
        return np.zeros_like(raw)
    shifted = raw - raw.min()
    return shifted / shifted.max()


def published_levels(low, size):
    """uint8 levels of one raw map: OpenCV bicubic in float64, min-max, floor."""
    up = cv2.resize(np.asarray(low, np.float64), (size, size), interpolation=cv2.INTER_CUBIC)
    return (published_min_max(up) * 255).astype(np.uint8)


def numpy_histograms(norm, mask, taus):
    """(2,K) background and foreground counts of one map by ``np.histogram``."""
    edges = np.append(taus, [1.0, 2.0, 3.0])
    return np.stack([np.histogram(norm[mask == value], bins=edges)[0] for value in (0, 1)])


def numpy_pxap(histogram):
    """PxAP in percent of a histogram (2,K), from the published formula."""
    fp, tp = (h[::-1].cumsum().astype(np.float64) for h in histogram)
    auc = 0.0
    for i in range(1, len(tp)):
        if tp[i] + fp[i]:
            auc += tp[i] / (tp[i] + fp[i]) * (tp[i] - tp[i - 1]) / tp[-1]
    return 100 * auc


def random_boxes(rng, height, width, count) -> Sequence[np.ndarray]:
    """Ground-truth boxes int64 (count,4) inside a map."""
    x = np.sort(rng.integers(0, width, (count, 2)), axis=1)
    y = np.sort(rng.integers(0, height, (count, 2)), axis=1)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)

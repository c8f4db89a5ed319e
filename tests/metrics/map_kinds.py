"""Level maps of every awkward kind, seeded."""

from __future__ import annotations

import cv2
import numpy as np


def _zero(rng, h, w):
    return np.zeros((h, w), np.uint8)


def _constant(rng, h, w):
    return np.full((h, w), rng.integers(1, 256), np.uint8)


def _plateaus(rng, h, w):
    low = rng.integers(0, 6, (max(1, h // 6), max(1, w // 6))) * 51
    return cv2.resize(low.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)


def _binary_noise(rng, h, w):
    return ((rng.random((h, w)) < rng.uniform(0.1, 0.9)) * rng.integers(1, 256)).astype(np.uint8)


def _nested(rng, h, w):
    out = np.zeros((h, w), np.uint8)
    for i in range(0, min(h, w) // 2, int(rng.integers(1, 4))):
        out[i : h - i, i : w - i] = rng.integers(0, 256)
    return out


def _rings(rng, h, w):
    y, x = np.mgrid[:h, :w]
    radius = np.hypot(y - rng.uniform(0, h), x - rng.uniform(0, w))
    return np.clip(127.5 + 127.5 * np.sin(radius / rng.uniform(0.7, 6)), 0, 255).astype(np.uint8)


def _checkerboard(rng, h, w):
    y, x = np.mgrid[:h, :w]
    step = rng.integers(1, 4)
    return (((y // step + x // step) % 2) * rng.integers(1, 256)).astype(np.uint8)


def _diagonals(rng, h, w):
    y, x = np.mgrid[:h, :w]
    return (
        (((y + x) % rng.integers(2, 6) == 0) * rng.integers(1, 256) + ((y - x) % 5 == 0)).clip(0, 255).astype(np.uint8)
    )


def _equal_stamps(rng, h, w):
    out, side = np.zeros((h, w), np.uint8), int(rng.integers(1, 5))
    for _ in range(rng.integers(2, 12)):
        y, x = rng.integers(0, max(1, h - side)), rng.integers(0, max(1, w - side))
        out[y : y + side, x : x + side] = rng.choice([80, 160, 255])
    return out


def _single_pixel(rng, h, w):
    out = np.zeros((h, w), np.uint8)
    out[rng.integers(0, h), rng.integers(0, w)] = rng.integers(1, 256)
    return out


def _borders(rng, h, w):
    out = rng.integers(0, 40, (h, w)).astype(np.uint8)
    out[0], out[-1], out[:, 0], out[:, -1] = rng.integers(100, 256, 4)
    return out


def _noise(rng, h, w):
    return rng.integers(0, 256, (h, w)).astype(np.uint8)


def _blurred(rng, h, w):
    return _scale(cv2.GaussianBlur(rng.random((h, w)), (0, 0), rng.uniform(0.6, 5)))


def _cam(rng, h, w):
    side = int(rng.choice([5, 7, 14, 28]))
    low = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), rng.uniform(0.5, 2))
    if rng.random() < 0.5:
        low = np.maximum(low, 0)
    flag = cv2.INTER_CUBIC if rng.random() < 0.6 else cv2.INTER_LINEAR
    return _scale(cv2.resize(low, (w, h), interpolation=flag))


def _dim(rng, h, w):
    return (_cam(rng, h, w) * rng.uniform(0.02, 0.9)).astype(np.uint8)


def _spiral(rng, h, w):
    y, x = np.mgrid[:h, :w]
    angle = np.arctan2(y - h / 2, x - w / 2)
    return _scale(np.sin(np.hypot(y - h / 2, x - w / 2) / 2.5 + angle) > 0.2)


def _scale(values):
    values = np.asarray(values, np.float64)
    span = values.max() - values.min()
    return np.zeros(values.shape, np.uint8) if span == 0 else ((values - values.min()) / span * 255).astype(np.uint8)


KINDS = {
    f.__name__.strip("_"): f
    for f in (
        *(_zero, _constant, _plateaus, _binary_noise, _nested, _rings, _checkerboard, _diagonals),
        *(_equal_stamps, _single_pixel, _borders, _noise, _blurred, _cam, _dim, _spiral),
    )
}


def make_map(kind: str, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A uint8 map (height,width) of one kind."""
    return KINDS[kind](rng, height, width)

"""Curves, filled shapes and anti-aliased rasters for the synthbirds painter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from .species import Color

Points = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

SUPERSAMPLE = 4


@dataclass(frozen=True)
class Shape:
    """A filled polygon (N,2), its colour, and the bird part it belongs to (None: common to all relatives)."""

    points: Points
    color: Color
    part: str | None = None


@lru_cache(maxsize=64)
def _catmull_rom(count: int, steps: int) -> Points:
    """Matrix (count·steps, count) that turns control points of a closed Catmull-Rom spline into curve points."""
    t = np.arange(steps) / steps
    basis = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    matrix = np.zeros((count * steps, count))
    for i in range(count):
        for k in range(4):
            matrix[i * steps : (i + 1) * steps, (i + k - 1) % count] += basis[:, k]
    return matrix


def smooth(controls: Any, steps: int = 8) -> Points:
    """Closed smooth curve through the control points (N,2)."""
    points = np.asarray(controls, dtype=np.float64)
    return _catmull_rom(len(points), steps) @ points


def ellipse(x: float, y: float, rx: float, ry: float | None = None, steps: int = 36) -> Points:
    """Polygon of an axis-aligned ellipse."""
    a = np.arange(steps) * (2 * np.pi / steps)
    return np.stack([x + rx * np.cos(a), y + (rx if ry is None else ry) * np.sin(a)], axis=1)


def capsule(p: tuple[float, float], rp: float, q: tuple[float, float], rq: float) -> Points:
    """Tapered capsule between two circles."""
    a, b = np.asarray(p), np.asarray(q)
    along = np.arctan2(b[1] - a[1], b[0] - a[0])
    arc = np.linspace(np.pi / 2, 3 * np.pi / 2, 14) + along
    back = np.linspace(-np.pi / 2, np.pi / 2, 14) + along
    first = a + rp * np.stack([np.cos(arc), np.sin(arc)], axis=1)
    second = b + rq * np.stack([np.cos(back), np.sin(back)], axis=1)
    return np.concatenate([first, second])


def rotate(points: Points, degrees: float, about: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Points turned counter-clockwise about a pivot (y axis up)."""
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    pivot = np.asarray(about)
    return np.asarray((points - pivot) @ turn + pivot)


def tint(color: Color, factor: float) -> Color:
    """Colour made darker (factor < 1), or lighter (factor > 1, towards white)."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in color)
    else:
        r, g, b = (round(c + (255 - c) * (factor - 1)) for c in color)
    return r, g, b


class Wing:
    """A wing as a map (span fraction u, chord fraction v) -> point, smooth between its two edges of five knots."""

    def __init__(
        self, lead: list[tuple[float, float]], trail: list[tuple[float, float]], turn: float, pivot: tuple[float, float]
    ) -> None:
        self.edges = tuple(rotate(np.asarray(_SPAN @ np.asarray(side)), turn, pivot) for side in (lead, trail))

    def at(self, u: Points, v: Points | float) -> Points:
        """Points (N,2) at span fractions ``u`` (N,) and chord fractions ``v``."""
        grid, chord = np.linspace(0, 1, len(_SPAN)), np.clip(v, 0, 1)
        axes = [
            np.interp(u, grid, self.edges[0][:, k]) * (1 - chord) + np.interp(u, grid, self.edges[1][:, k]) * chord
            for k in (0, 1)
        ]
        return np.stack(axes, axis=1)

    def outline(self) -> Points:
        """Closed outline."""
        return np.concatenate([self.edges[0], self.edges[1][::-1]])


def _span_matrix(knots: int, samples: int) -> Points:
    """Matrix of the open Catmull-Rom spline from ``knots`` points to ``samples`` points."""
    padded = np.vstack(
        [2 * np.eye(knots)[0] - np.eye(knots)[1], np.eye(knots), 2 * np.eye(knots)[-1] - np.eye(knots)[-2]]
    )
    rows = []
    for u in np.linspace(0, knots - 1, samples):
        i = min(int(u), knots - 2)
        t = u - i
        basis = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
        rows.append(0.5 * sum(b * padded[i + k] for k, b in enumerate(basis)))
    return np.stack(rows)


_SPAN = _span_matrix(5, 29)


def rasterise(shapes: list[Shape], size: tuple[int, int], evidence: frozenset[str]) -> tuple[Array, Array, Array]:
    """Paint shapes (pixel coordinates, y down) in order, anti-aliased.

    Returns:
        Premultiplied colour (H,W,3) float32 in 0…255, coverage (H,W) float32 in 0…1, and the coverage of the visible
        parts named in ``evidence``.
    """
    points = np.concatenate([s.points for s in shapes])
    x0, y0 = (max(int(v) - 1, 0) for v in np.floor(points.min(0)))
    x1, y1 = (min(int(v) + 2, edge) for v, edge in zip(np.ceil(points.max(0)), size, strict=True))
    big = ((x1 - x0) * SUPERSAMPLE, (y1 - y0) * SUPERSAMPLE)
    color, cover, marked = Image.new("RGB", big), Image.new("L", big), Image.new("L", big)
    pens = [ImageDraw.Draw(layer) for layer in (color, cover, marked)]
    for shape in shapes:
        flat = ((shape.points - (x0, y0)) * SUPERSAMPLE).ravel().tolist()
        pens[0].polygon(flat, fill=shape.color)
        pens[1].polygon(flat, fill=255)
        pens[2].polygon(flat, fill=255 if shape.part in evidence else 0)
    full = [np.zeros((size[1], size[0], 3), np.float32), *(np.zeros((size[1], size[0]), np.float32) for _ in range(2))]
    for target, layer in zip(full, (color, cover, marked), strict=True):
        target[y0:y1, x0:x1] = np.asarray(layer.reduce(SUPERSAMPLE))
    return full[0], full[1] / 255, full[2] / 255

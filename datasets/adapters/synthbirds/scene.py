"""Backgrounds and distractors of synthbirds; nothing here knows the label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from .pen import Points, capsule, ellipse, rotate, smooth, tint
from .species import BLACK, FAMILIES, GOLD, IVORY, ORANGE, RED, TEAL, WHITE, Color

Array = npt.NDArray[Any]
Rng = np.random.Generator

# Top, bottom and texture colour of each kind of place.
PLACES: tuple[tuple[Color, Color, Color], ...] = (
    ((128, 182, 232), (214, 232, 244), (244, 246, 248)),
    ((74, 112, 62), (36, 72, 40), (142, 166, 78)),
    ((196, 132, 70), (112, 70, 40), (222, 170, 84)),
    ((92, 146, 160), (40, 92, 116), (160, 202, 202)),
    ((222, 228, 236), (176, 190, 206), (250, 250, 252)),
    ((140, 132, 122), (88, 82, 78), (186, 176, 158)),
    ((150, 176, 92), (86, 118, 52), (206, 206, 120)),
    ((234, 160, 120), (96, 80, 124), (250, 208, 150)),
    ((60, 66, 60), (30, 40, 40), (110, 122, 92)),
)
GREENS: tuple[Color, ...] = ((84, 122, 52), (52, 92, 48), (128, 150, 66), (154, 134, 58), (172, 96, 44))
PLUMAGE: tuple[Color, ...] = tuple(c for f in FAMILIES for c in f.body)
VIVID: tuple[Color, ...] = (RED, GOLD, ORANGE, WHITE, BLACK, IVORY, TEAL, (24, 34, 84), (222, 66, 34))


def noise(rng: Rng, side: int, cells: int) -> Array:
    """Smooth noise (side, side) float32 around 0, with ``cells`` lumps a side."""
    grid = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC))


def backdrop(rng: Rng, side: int) -> Array:
    """Textured background (side, side, 3) float32 in 0…255."""
    top, bottom, texture = (
        np.asarray(c, dtype=np.float32) * rng.uniform(0.88, 1.1, 3).astype(np.float32)
        for c in PLACES[int(rng.integers(len(PLACES)))]
    )
    coarse = noise(rng, side, 3) * 0.22
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None]
    mix = np.clip((ramp if rng.random() < 0.8 else ramp.T) + coarse, 0, 1)[..., None]
    lumps = noise(rng, side, 9) * 0.6 + noise(rng, side, 22) * 0.4
    grain = noise(rng, side, 60) * 5.0 + noise(rng, side, 112) * 4.0
    patch = np.clip(lumps * float(rng.uniform(0.25, 0.6)), 0, 0.75)[..., None]
    plain = top * (1 - mix) + bottom * mix
    return np.asarray(plain * (1 - patch) + texture * patch + grain[..., None], dtype=np.float32)


def _pick(rng: Rng, colors: tuple[Color, ...]) -> Color:
    r, g, b = (int(np.clip(c * f, 0, 255)) for c, f in zip(_one(rng, colors), rng.uniform(0.85, 1.12, 3), strict=True))
    return r, g, b


def _one(rng: Rng, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _moved(points: Points, x: float, y: float) -> Points:
    return np.asarray(points + np.array((x, y)))


class _Canvas:
    """Shapes at twice the final resolution on a transparent layer; coordinates are fractions of the side."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.layer = Image.new("RGBA", (2 * side, 2 * side))
        self.pen = ImageDraw.Draw(self.layer)

    def fill(self, points: Points, color: Color) -> None:
        self.pen.polygon((points * 2 * self.side).ravel().tolist(), fill=(*color, 255))

    def over(self, image: Array, blur: float) -> Array:
        """Composite onto ``image`` (side, side, 3), blurred by ``blur`` pixels."""
        layer = self.layer.convert("RGBa").reduce(2)
        if blur > 0.3:
            layer = layer.filter(ImageFilter.GaussianBlur(blur))
        flat = np.asarray(layer, dtype=np.float32)
        return np.asarray(image * (1 - flat[..., 3:] / 255) + flat[..., :3])


def _leaf(rng: Rng, canvas: _Canvas, x: float, y: float, size: float, color: Color | None = None) -> None:
    color, turn = color or _pick(rng, GREENS), float(rng.uniform(0, 360))
    blade = smooth([(-1, 0), (-0.4, 0.34), (0.3, 0.3), (1, 0), (0.3, -0.3), (-0.4, -0.34)])
    vein = np.array([(-1.0, -0.03), (0.95, 0.0), (-1.0, 0.03)])
    for points, shade in ((blade, 1.0), (np.concatenate([blade[:24], [[-1, 0]]]), 1.08), (vein, 0.7)):
        canvas.fill(_moved(rotate(points * size, turn), x, y), tint(color, shade))


def _spray(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    color = _pick(rng, GREENS)
    for _ in range(int(rng.integers(4, 9))):
        dx, dy = rng.normal(0, size, 2)
        _leaf(
            rng,
            canvas,
            x + dx,
            y + dy,
            size * float(rng.uniform(0.5, 0.9)),
            tint(color, float(rng.uniform(0.75, 1.15))),
        )


def _branch(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    color, turn = _pick(rng, ((96, 72, 52), (70, 56, 46), (128, 108, 88))), float(rng.uniform(0, np.pi))
    dx, dy = np.cos(turn) * size * 4, np.sin(turn) * size * 4
    thick = size * float(rng.uniform(0.08, 0.22))
    canvas.fill(capsule((x - dx, y - dy), thick, (x + dx, y + dy), thick * 0.5), color)
    canvas.fill(
        capsule((x - dx, y - dy - thick * 0.5), thick * 0.25, (x + dx, y + dy - thick * 0.25), thick * 0.1),
        tint(color, 1.2),
    )


def _berries(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    color = _pick(rng, VIVID)
    for _ in range(int(rng.integers(3, 7))):
        bx, by = x + float(rng.normal(0, size * 0.7)), y + float(rng.normal(0, size * 0.7))
        r = size * float(rng.uniform(0.22, 0.4))
        canvas.fill(ellipse(bx, by, r), tint(color, 0.85))
        canvas.fill(ellipse(bx - r * 0.15, by - r * 0.15, r * 0.78), color)
        canvas.fill(ellipse(bx - r * 0.35, by - r * 0.35, r * 0.22), tint(color, 1.7))


def _flower(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    color, heart, count = _pick(rng, VIVID + PLUMAGE), _pick(rng, VIVID), int(rng.integers(5, 8))
    petal = smooth([(0.1, 0), (0.6, 0.3), (1, 0.12), (1, -0.12), (0.6, -0.3)]) * size
    for k in range(count):
        canvas.fill(
            _moved(rotate(petal, 360 / count * k + float(rng.uniform(0, 30))), x, y), tint(color, 1 - 0.05 * (k % 3))
        )
    canvas.fill(ellipse(x, y, size * 0.28), heart)


def _rock(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    color, angle = (
        _pick(rng, ((126, 120, 112), (96, 90, 88), (160, 148, 130), *PLUMAGE)),
        np.linspace(0, 2 * np.pi, 10)[:9],
    )
    radius = size * rng.uniform(0.75, 1.2, 9)
    outline = np.stack([x + 1.3 * radius * np.cos(angle), y + 0.85 * radius * np.sin(angle)], axis=1)
    canvas.fill(smooth(outline, 3), tint(color, 0.8))
    canvas.fill(smooth((outline - (x, y)) * 0.8 + (x - size * 0.1, y - size * 0.14), 3), color)


def _decoy(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    """A rounded thing in a bird's colours, with a spot or bands in the colours of telling parts, and no bird's form."""
    color, mark, turn = _pick(rng, PLUMAGE), _pick(rng, VIVID), float(rng.uniform(0, 360))
    angle = np.linspace(0, 2 * np.pi, 9)[:8]
    body = smooth(np.stack([np.cos(angle) * 1.15, np.sin(angle) * 0.85], axis=1) * rng.uniform(0.78, 1.18, (8, 1)), 5)
    place = _moved(rotate(body * size, turn), x, y)
    canvas.fill(place, tint(color, 0.82))
    canvas.fill(_moved(rotate(body * size * 0.86, turn), x - size * 0.05, y - size * 0.07), color)
    if rng.random() < 0.5:
        for at in (-0.35, 0.15):
            band = np.array([(at, -0.62), (at + 0.2, -0.62), (at + 0.24, 0.6), (at + 0.04, 0.62)])
            canvas.fill(_moved(rotate(band * size, turn), x, y), mark)
    else:
        canvas.fill(_moved(rotate(ellipse(0.2, 0.1, 0.5, 0.38) * size, turn), x, y), mark)


def _cloud(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    for _ in range(6):
        dx, dy = float(rng.normal(0, size)), float(rng.normal(0, size * 0.35))
        canvas.fill(ellipse(x + dx, y + dy, size * float(rng.uniform(0.4, 0.8)), size * float(rng.uniform(0.3, 0.55))),
                    tint((236, 238, 242), float(rng.uniform(0.9, 1.1))))  # fmt: skip


def _grass(rng: Rng, canvas: _Canvas, x: float, y: float, size: float) -> None:
    color = _pick(rng, GREENS)
    for _ in range(int(rng.integers(5, 10))):
        root, lean = x + float(rng.normal(0, size)), float(rng.normal(0, size))
        tall = size * float(rng.uniform(1.5, 4.0))
        blade = np.array(
            [
                (root - 0.006, y + size),
                (root + lean * 0.4, y - tall * 0.5),
                (root + lean, y - tall),
                (root + lean * 0.4 + 0.008, y - tall * 0.5),
                (root + 0.008, y + size),
            ]
        )
        canvas.fill(blade, tint(color, float(rng.uniform(0.75, 1.2))))


_Drawer = Callable[[Rng, _Canvas, float, float, float], None]
FAR: tuple[_Drawer, ...] = (_spray, _branch, _cloud, _rock, _spray, _branch, _decoy)
NEAR: tuple[_Drawer, ...] = (_leaf, _spray, _branch, _berries, _flower, _rock, _decoy, _decoy, _grass, _berries)


def scatter(
    rng: Rng, image: Array, kinds: tuple[_Drawer, ...], count: int, scale: tuple[float, float], blur: float
) -> Array:
    """Composite ``count`` random distractors onto ``image``."""
    canvas = _Canvas(image.shape[0])
    for _ in range(count):
        drawer = kinds[int(rng.integers(len(kinds)))]
        x, y = rng.uniform(-0.05, 1.05, 2)
        drawer(rng, canvas, float(x), float(y), float(rng.uniform(*scale)))
    return canvas.over(image, blur)


def scene(rng: Rng, side: int) -> Array:
    """Background with blurred things far away and sharper ones near: (side, side, 3) float32 in 0…255."""
    image = backdrop(rng, side)
    unit = side / 224
    image = scatter(rng, image, FAR, int(rng.integers(4, 9)), (0.06, 0.2), float(rng.uniform(2.0, 5.0)) * unit)
    return scatter(rng, image, NEAR, int(rng.integers(5, 12)), (0.03, 0.1), float(rng.uniform(0.0, 1.4)) * unit)


def perch(rng: Rng, image: Array, x: float, y: float, reach: float) -> Array:
    """A branch, stone or ground under the feet at (x, y); all in fractions of the side."""
    canvas, kind = _Canvas(image.shape[0]), rng.random()
    slope, thick = float(rng.normal(0, 0.08)), float(rng.uniform(0.1, 0.2)) * reach
    color = _pick(rng, ((104, 78, 56), (78, 62, 50), (136, 116, 94)))
    if kind < 0.72:
        left, right = x - float(rng.uniform(0.7, 2.5)) * reach, x + float(rng.uniform(0.7, 2.5)) * reach
        ends = ((left, y + thick + slope * (left - x)), (right, y + thick + slope * (right - x)))
        canvas.fill(capsule(ends[0], thick, ends[1], thick * 0.7), color)
        ends = ((left, ends[0][1] - thick * 0.5), (right, ends[1][1] - thick * 0.35))
        canvas.fill(capsule(ends[0], thick * 0.3, ends[1], thick * 0.2), tint(color, 1.16))
        for _ in range(int(rng.integers(0, 5))):
            at = float(rng.uniform(left, right))
            _leaf(
                rng,
                canvas,
                at,
                y + thick + slope * (at - x) + float(rng.normal(0, thick * 2)),
                reach * float(rng.uniform(0.12, 0.28)),
            )
    else:
        _rock(rng, canvas, x, y + reach * 0.5, reach * 0.62)
    return canvas.over(image, 0.0)


def foreground(rng: Rng, side: int, x: float, y: float, reach: float) -> tuple[Array, Array]:
    """A few leaves or blades that may cross the edge of the bird: premultiplied colour (S,S,3) and coverage (S,S,1)."""
    canvas = _Canvas(side)
    if rng.random() < 0.3:
        angle = (
            float(rng.uniform(np.pi * 0.75, np.pi * 1.25) if rng.random() < 0.5 else rng.uniform(-0.2, 0.2)) + np.pi / 2
        )
        at = (x + np.cos(angle) * reach * 0.9, y + np.sin(angle) * reach * 0.9)
        _spray(rng, canvas, float(at[0]), float(at[1]), reach * 0.14)
    flat = np.asarray(canvas.layer.convert("RGBa").reduce(2), dtype=np.float32)
    return flat[..., :3], flat[..., 3:] / 255

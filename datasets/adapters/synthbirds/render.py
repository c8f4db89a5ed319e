"""One synthbirds image: scene, bird, light; with its box, mask and evidence mask."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from . import scene as scenes
from .draw import Painter, draw_pose
from .pen import Shape, rasterise
from .species import SPECIES, Species, evidence_parts

Array = npt.NDArray[Any]

SMALLEST, LARGEST = 0.16, 0.79
SPLIT_STREAM = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class BirdPicture:
    """``image`` (S,S,3) uint8; ``mask``, ``evidence`` (S,S) bool; ``box`` x0,y0,x1,y1 in pixels, tight on the mask."""

    label: int
    image: Array
    mask: Array
    evidence: Array
    box: tuple[float, float, float, float]


def stream(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of one image, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLIT_STREAM[split], index)))


def draw(seed: int, split: str, index: int, side: int) -> BirdPicture:
    """Image ``index`` of a split; labels go round, so every prefix of a split is balanced."""
    rng = stream(seed, split, index)
    label = index % len(SPECIES)
    while True:
        picture = _compose(rng, label, side)
        if picture is not None:
            return picture


def _place(
    rng: np.random.Generator, shapes: list[Shape], side: int
) -> tuple[list[Shape], tuple[float, float, float, float]]:
    """Shapes in pixels of the image, y down, and their bounds."""
    extent = SMALLEST + (LARGEST - SMALLEST) * float(rng.beta(3.2, 2.0))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    points = np.concatenate([s.points for s in shapes]) * (mirror, -1.0)
    low, high = points.min(0), points.max(0)
    scale = extent * side / float((high - low).max())
    room = side - (high - low) * scale
    # Positions lean towards the borders of the free room, so that the centre is no good guess.
    spot = rng.beta(0.75, 0.75, 2) * (room - 4) + 2
    shift = spot - low * scale
    placed = [Shape(s.points * (mirror * scale, -scale) + shift, s.color, s.part) for s in shapes]
    x0, y0 = low * scale + shift
    x1, y1 = high * scale + shift
    return placed, (float(x0), float(y0), float(x1), float(y1))


def _compose(rng: np.random.Generator, label: int, side: int) -> BirdPicture | None:
    species = SPECIES[label]
    pose = draw_pose(rng)
    shapes, (x0, y0, x1, y1) = _place(rng, Painter(species, pose).paint(), side)
    reach = max(x1 - x0, y1 - y0) / side / 2
    image = scenes.scene(rng, side)
    if not pose.flying:
        feet = np.concatenate([s.points for s in shapes if s.part == "legs"])
        image = scenes.perch(rng, image, float(feet[:, 0].mean()) / side, float(feet[:, 1].max() - 0.5) / side, reach)
    image, cover, marked = _paste(rng, image, shapes, species, side)
    front, hidden = scenes.foreground(rng, side, (x0 + x1) / 2 / side, (y0 + y1) / 2 / side, reach)
    image = image * (1 - hidden) + front
    seen = 1 - hidden[..., 0]
    mask, marked = cover * seen >= 0.5, marked * seen
    image = _light(rng, image)
    evidence = mask & (marked >= 0.4)
    if not evidence.any() or mask.sum() < 0.8 * (cover >= 0.5).sum():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return BirdPicture(label, np.clip(np.rint(image), 0, 255).astype(np.uint8), mask, evidence, box)


def _paste(
    rng: np.random.Generator, image: Array, shapes: list[Shape], species: Species, side: int
) -> tuple[Array, Array, Array]:
    """Bird over the image, shaded as a rounded body: image, coverage and evidence coverage, all (S,S,…)."""
    color, cover, marked = rasterise(shapes, (side, side), evidence_parts(species))
    unit = side / 224
    soft = (
        np.asarray(
            Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(5 * unit)), dtype=np.float32
        )
        / 255
    )
    angle = float(rng.uniform(-2.4, -0.75))
    dy, dx = np.gradient(soft)
    relief = -(dx * np.cos(angle) + dy * np.sin(angle)) * 5 * unit
    shade = 1 + np.clip(relief, -0.32, 0.26) + scenes.noise(rng, side, 50) * 0.035
    shadow = np.roll(soft, (round(5 * unit), round(3 * unit)), (0, 1))[..., None]
    ground = image * (1 - 0.3 * shadow)
    return ground * (1 - cover[..., None]) + color * shade[..., None], cover, marked


def _light(rng: np.random.Generator, image: Array) -> Array:
    """Brightness, warmth and a soft fall-off across the image."""
    side = image.shape[0]
    gain = float(rng.uniform(0.82, 1.12)) * rng.uniform(0.95, 1.05, 3).astype(np.float32)
    slope = np.linspace(-1, 1, side, dtype=np.float32)
    fall = 1 + float(rng.uniform(-0.1, 0.1)) * slope[:, None] + float(rng.uniform(-0.1, 0.1)) * slope[None, :]
    return np.asarray(image * gain * fall[..., None])


def png(image: Array) -> bytes:
    """Lossless PNG bytes of an (S,S,3) or (S,S) uint8 array, or of a bool mask (0 and 255)."""
    picture = Image.fromarray(image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=2)
    return buffer.getvalue()

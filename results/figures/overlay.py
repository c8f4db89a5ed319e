"""Score maps over pictures, and what every figure of maps shares: colours, boxes, reproducible files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, patheffects
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

PREDICTED_COLOR, TRUTH_COLOR = "#00e05a", "#ff2a2a"
"""Predictions green and ground truths red, as in the paper's Figure 3."""
Dashes = str | tuple[float, tuple[float, ...]]
TRUTH_DASHES: Dashes = (0, (3, 1.5))
"""Red beside green is one colour to many readers: the true box is dashed, too."""
COLORMAP = "turbo"
OPACITY = 0.55
ENDINGS = (".png", ".pdf", ".svg")

_UNDATED: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}

Pixels = npt.NDArray[np.uint8]


def overlay(image: Pixels, norm: npt.NDArray[np.floating[Any]], opacity: float = OPACITY) -> Pixels:
    """A picture (R,R,3) uint8 under the colours of its normalised map (R,R) in [0, 1]; colour 0 is the map's least."""
    grey = image.astype(np.float64).mean(2, keepdims=True)
    colours = np.asarray(colormaps[COLORMAP](norm))[..., :3] * 255
    mixed: Pixels = np.rint((1 - opacity) * grey + opacity * colours).clip(0, 255).astype(np.uint8)
    return mixed


def show(axis: Any, image: Pixels) -> None:
    """Put a picture onto an axis, without ticks or frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.imshow(image, aspect="equal", interpolation="nearest" if max(image.shape[:2]) < 64 else "antialiased")


def draw_boxes(
    axis: Any, boxes: Sequence[Sequence[float]], color: str, line: float = 1.0, dashes: Dashes = "-"
) -> None:
    """Outline boxes x0, y0, x1, y1 (pixels), with a dark rim so that they stand out from any colour."""
    rim = [patheffects.Stroke(linewidth=2.6 * line, foreground="black", alpha=0.6), patheffects.Normal()]
    for x0, y0, x1, y1 in boxes:
        # Pixel centres are at whole numbers, so an edge at x lies at x - 0.5 of the axis.
        axis.add_patch(
            Rectangle(
                (x0 - 0.5, y0 - 0.5),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=color,
                linewidth=1.5 * line,
                linestyle=dashes,
                path_effects=rim,
            )
        )


def save_figure(figure: Figure, targets: Sequence[Path], dpi: int) -> list[Path]:
    """Write a figure as PNG, PDF or SVG; the same figure gives the same bytes (no date, no version of the library)."""
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=dpi, metadata=_UNDATED[target.suffix.lower()])
    return list(targets)


def targets_of(output: Path) -> list[Path]:
    """The files that ``--out`` names: itself where it ends in .png, .pdf or .svg, else all three beside each other.

    Raises:
        ValueError: Another ending.
    """
    if output.suffix.lower() in ENDINGS:
        return [output]
    if output.suffix and output.suffix.lower() in (".jpg", ".jpeg", ".eps", ".gif", ".webp", ".tif", ".tiff"):
        raise ValueError(
            f"--out {output}: expected a name ending in .png, .pdf or .svg, or without ending for all three"
        )
    return [output.with_name(output.name + ending) for ending in ENDINGS]

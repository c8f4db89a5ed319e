"""Drawings for words of the documentation: thresholds, normalisations, IoU, given maps, training curves, WSOL methods.

``draw(RUN, FOLDER)`` writes a PNG for each; ``make_images.py`` calls it. RUN is the embedded benchmark's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors import safe_open
from torch import Tensor

from cambench.baselines.wsol.cutmix import CutMix
from cambench.baselines.wsol.hide_and_seek import HideAndSeek
from cambench.datasets.batches import load_batches
from cambench.datasets.open import open_table
from cambench.metrics.functional.boxes import quantize
from cambench.metrics.functional.maps import locate, normalise, resize_maps
from cambench.metrics.functional.single_box import threshold_boxes
from cambench.protocol import Protocol
from cambench.results.figures.figure_style import SCREEN, drawing
from cambench.results.figures.overlay import PREDICTED_COLOR, TRUTH_COLOR, draw_boxes, overlay, show
from cambench.results.records.load import load_run

BIRD, TRIPLE = 230, "slim_resnet/cam/softmax"
"""The image that most drawings show, and whose map."""
CUT = 17
"""Seed of the training methods' draws: one under which CutMix takes its box from the other image."""
SIDE, CAPTION = 1.9, 0.62
"""Inches: a picture, and the room for the two lines below it."""


@dataclass(frozen=True)
class Panel:
    """A picture (H,W,3) with what stands below it, and its predicted and true boxes."""

    image: Any
    caption: str
    predicted: Sequence[Sequence[float]] = ()
    truth: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Bird:
    """One image (R,R,3) with its low-resolution map (1,P,Q), its true boxes, and the protocol of the run."""

    image: Any
    low: Tensor
    truth: Any
    rules: Protocol

    def levels(self) -> tuple[Any, Tensor]:
        """The map at R×R in [0, 1], and its levels."""
        norm = locate(self.low, self.rules.map_rule, self.rules.size)[1]
        return norm[0].numpy(), quantize(norm)

    def iou(self, box: Sequence[float]) -> float:
        """Of a box with the true one, inclusive as the scores have it."""
        true = self.truth[0]
        wide, tall = (min(box[k + 2], true[k + 2]) - max(box[k], true[k]) + 1 for k in (0, 1))
        area = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, true)]
        shared = max(wide, 0) * max(tall, 0)
        return float(shared / (sum(area) - shared))


def draw(run: Path, folder: Path) -> list[Path]:
    """Write every drawing below a folder; returns the files."""
    bird = the_bird(run)
    made: dict[str, Callable[[], Figure]] = {
        "two-branches": two_branches,
        "words-of-a-box": lambda: strip(words_of_a_box(bird)),
        "protocol-thresholds": lambda: strip(thresholds(bird)),
        "protocol-normalisations": lambda: strip(normalisations(bird)),
        "given-maps": lambda: strip(given_maps(bird)),
        "training-curves": lambda: training_curves(run),
        "wsol-batches": lambda: strip(wsol_batches()),
    }
    files = []
    with drawing(SCREEN):
        for name, make in made.items():
            files.append(folder / f"{name}.png")
            make().savefig(files[-1], dpi=110, metadata={"Software": None})
    return files


def strip(panels: Sequence[Panel]) -> Figure:
    """Pictures in a row, each with its caption below."""
    gap = 0.12
    width, height = len(panels) * (SIDE + gap) + gap, SIDE + CAPTION
    figure = Figure(figsize=(width, height), facecolor="white")
    for k, panel in enumerate(panels):
        left = gap + k * (SIDE + gap)
        axis = figure.add_axes((left / width, CAPTION / height, SIDE / width, SIDE / height))
        show(axis, panel.image)
        draw_boxes(axis, panel.truth, TRUTH_COLOR, 1.3, (0, (4, 2)))
        draw_boxes(axis, panel.predicted, PREDICTED_COLOR, 1.3)
        axis.set_xlim(-0.5, panel.image.shape[1] - 0.5)
        axis.set_ylim(panel.image.shape[0] - 0.5, -0.5)
        at = ((left + SIDE / 2) / width, (CAPTION - 0.08) / height)
        figure.text(*at, panel.caption, ha="center", va="top", fontsize=10.5, linespacing=1.35)
    return figure


def the_bird(run: Path) -> Bird:
    """The image that is drawn, from a run that kept its maps."""
    found, table = load_run(run), open_table("synthbirds", None, "test")
    rules = found.manifest.protocol
    batch = next(load_batches(table, [BIRD], rules.size, 1, 1, masks=False))
    low = torch.from_numpy(found.column(TRIPLE, "map")[BIRD : BIRD + 1])
    return Bird(batch.images[0].permute(1, 2, 0).numpy(), low, batch.gt_boxes[0].tolist(), rules)


def words_of_a_box(bird: Bird) -> list[Panel]:
    """From an image to an IoU, a word at each step."""
    norm, levels = bird.levels()
    tau = bird.rules.loc_tau
    [box] = threshold_boxes(levels, tau, bird.rules).tolist()
    above = levels[0].numpy() > int(tau * int(levels.max()))
    masked = np.where(above[..., None], bird.image, bird.image // 5)
    low = bird.low[0].numpy()
    return [
        Panel(bird.image, "image and\ntrue box", truth=bird.truth),
        Panel(_grey(low), f"CAM: {low.shape[0]} × {low.shape[1]} cells\nof the feature map"),
        Panel(overlay(bird.image, norm), "map: resized,\nnormalised"),
        Panel(masked, f"what is above\nτ = {tau:g} of its peak"),
        Panel(overlay(bird.image, norm), f"its box: IoU {bird.iou(box):.2f},\nlocated (≥ 0.5)", [box], bird.truth),
    ]


def thresholds(bird: Bird) -> list[Panel]:
    """The box of one map at growing τ."""
    norm, levels = bird.levels()
    panels = []
    for tau in (0.05, 0.2, 0.35, 0.5, 0.7):
        [box] = threshold_boxes(levels, tau, bird.rules).tolist()
        panels.append(Panel(overlay(bird.image, norm), f"τ = {tau:g}\nIoU {bird.iou(box):.2f}", [box], bird.truth))
    return panels


def normalisations(bird: Bird) -> list[Panel]:
    """One map under each normalisation, with the box at the same τ."""
    up = resize_maps(bird.low, bird.rules.size, bird.rules.map_rule.kernel)
    panels = []
    for how in ("min_max", "max", "pas", "ivr(45)"):
        norm, _ = normalise(up, how)
        levels = quantize(norm)
        [box] = threshold_boxes(levels, 0.2, bird.rules).tolist()
        caption = f"{how}\nIoU {bird.iou(box):.2f} at τ = 0.2"
        panels.append(Panel(overlay(bird.image, norm[0].numpy()), caption, [box], bird.truth))
    return panels


def given_maps(bird: Bird) -> list[Panel]:
    """A file that another tool might write, here the distance to the mean colour in the middle, and how it is read."""
    far = np.abs(bird.image / 255.0 - bird.image.mean((0, 1)) / 255).sum(-1)
    across = np.linspace(-1, 1, len(far)) ** 2
    far = far * np.exp(-(across[:, None] + across[None]) / 0.3)
    low = torch.from_numpy(far.reshape(28, 8, 28, 8).mean((1, 3)))[None]
    norm = locate(low, bird.rules.map_rule, bird.rules.size)[1]
    levels = quantize(norm)
    [box] = threshold_boxes(levels, bird.rules.loc_tau, bird.rules).tolist()
    own, own_levels = bird.levels()
    [other] = threshold_boxes(own_levels, bird.rules.loc_tau, bird.rules).tolist()
    return [
        Panel(bird.image, "test/00230.png", truth=bird.truth),
        Panel(_grey(low[0].numpy()), "your file\ntest/00230.npy, 28 × 28"),
        Panel(
            overlay(bird.image, norm[0].numpy()),
            f"as the protocol reads it\nIoU {bird.iou(box):.2f}",
            [box],
            bird.truth,
        ),
        Panel(overlay(bird.image, own), f"CAM beside it\nIoU {bird.iou(other):.2f}", [other], bird.truth),
    ]


def two_branches() -> Figure:
    """What the paper's method is: a frozen network, a head that decides the class, one whose evidence is drawn."""
    figure = Figure(figsize=(8.6, 2.5), facecolor="white")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 8.6), ylim=(0, 2.5))
    axis.set_axis_off()
    boxes = {
        "image": (0.55, 1.25, "image", "#ffffff"),
        "backbone": (1.95, 1.25, "backbone\n(frozen)", "#e7e9ed"),
        "features": (3.35, 1.25, "features", "#ffffff"),
        "softmax": (5.2, 1.95, "softmax head\ndecides the class", "#d7e6f5"),
        "sigmoid": (5.2, 0.55, "sigmoid head\ntrained clone, signed evidence", "#f7dfcf"),
        "map": (7.75, 1.25, "map of\nthat class", "#ffffff"),
    }
    drawn = {}
    for name, (x, y, text, colour) in boxes.items():
        frame = {"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": "#565b64"}
        drawn[name] = axis.text(x, y, text, ha="center", va="center", fontsize=10, bbox=frame, zorder=3)
    FigureCanvasAgg(figure).draw()
    steps = [("image", "backbone"), ("backbone", "features"), ("features", "softmax"), ("features", "sigmoid")]
    for start, end in [*steps, ("softmax", "map"), ("sigmoid", "map")]:
        between = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        look = {"arrowstyle": "-|>", "color": "#565b64", "linewidth": 1.3, "shrinkA": 3, "shrinkB": 3}
        axis.annotate("", boxes[end][:2], boxes[start][:2], arrowprops={**look, **between})
    return figure


def training_curves(run: Path) -> Figure:
    """The loss of every sigmoid branch that a run trained or took, epoch by epoch, as their files carry it."""
    figure = Figure(figsize=(6.4, 3.0), facecolor="white", layout="constrained")
    axis = figure.subplots()
    for file in sorted((run / "heads").glob("*.sigmoid.safetensors")):
        with safe_open(file, "pt") as content:
            record = json.loads(content.metadata()["record"])
        epochs = range(1, len(record["losses"]) + 1)
        axis.plot(epochs, record["losses"], marker="o", markersize=3.5, linewidth=1.6, label=record["backbone"])
    axis.set_xlabel("epoch", fontsize=10)
    axis.set_ylabel("class-balanced BCE", fontsize=10)
    axis.set_yscale("log")
    axis.tick_params(labelsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=9, frameon=False)
    return figure


def wsol_batches() -> list[Panel]:
    """What HaS and CutMix show the network instead of an image."""
    table = open_table("synthbirds", None, "test")
    birds = next(load_batches(table, [BIRD, 299], 224, 2, 1, masks=False)).images.float() / 255
    labels = torch.tensor([0, 1])
    torch.manual_seed(CUT)
    hidden, _ = HideAndSeek(grid_size=32).change_batch(birds - 0.5, labels)
    mixed, targets = CutMix().change_batch(birds, labels)
    share = float(targets[0, 2])
    return [
        Panel(_pixels(birds[0]), "the image"),
        Panel(_pixels(hidden[0] + 0.5), "has: cells hidden\n(grid_size 32)"),
        Panel(
            _pixels(mixed[0]),
            f"cutmix: {100 * (1 - share):.0f} % of another,\nloss shared {share:.2f} : {1 - share:.2f}",
        ),
    ]


def _pixels(image: Tensor) -> Any:
    return (255 * image.clamp(0, 1)).byte().permute(1, 2, 0).numpy()


def _grey(values: Any) -> Any:
    low, high = values.min(), values.max()
    return np.repeat((255 * (values - low) / (high - low)).astype(np.uint8)[..., None], 3, 2)

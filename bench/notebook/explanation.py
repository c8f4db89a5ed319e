"""What ``cambench.explain`` returns: maps as tensors, boxes, and pictures of them for a notebook or a file."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ...baselines.cams import CAMS
from ...baselines.contracts import HEADS
from ...metrics.functional.boxes import quantize
from ...metrics.functional.maps import locate
from ...metrics.functional.single_box import threshold_boxes
from ...protocol import Protocol
from ...results.figures import (
    OPACITY,
    MapColumn,
    MapRow,
    MapTile,
    StyleName,
    drawing,
    map_figure,
    overlay,
    save_figure,
    style_named,
    targets_of,
)
from ...text import number_of, visible
from ...triple import Triple, file_name
from ..host.errors import UsageError
from .pictures import ImageLike, bands_of, colours_of

DPI = 150
DRAWN = 12
"""Images of a picture in a notebook; a file has all."""


class _Picture:
    """Display of rows of maps: notebook, window, file."""

    def figure(self, limit: int | None = None, style: StyleName = "paper") -> Figure:
        """Input and map with box, one row for each image (the first ``limit``), as a matplotlib figure."""
        raise NotImplementedError

    def picture(self, limit: int | None = None, dpi: int = DPI) -> Image.Image:
        """``figure`` as a picture of ``dpi`` pixels an inch."""
        return Image.open(io.BytesIO(self._png(limit, dpi))).convert("RGB")

    def save(self, path: str | Path | None = None, dpi: int = DPI, style: StyleName = "paper") -> list[Path]:
        """Write ``figure`` with all images as PNG, PDF or SVG (all where ``path`` has no ending); returns the files.

        Where ``path`` is left out, a PNG named after the triple (``resnet50-gradcam-softmax.png``) in this folder.
        ``style``: ``paper`` (serif, small) or ``screen`` (large type, thicker lines).

        Raises:
            UnknownNameError: Another style. UsageError: Another ending, or a file that cannot be written.
        """
        path, look = self._file_name() if path is None else path, style_named(style)
        try:
            targets = targets_of(Path(path))
        except ValueError as error:
            raise UsageError(str(error).replace("--out ", "")) from None
        try:
            with drawing(look):
                return save_figure(self.figure(style=style), targets, dpi)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from None

    def _file_name(self) -> str:
        """Name of the file where none is given."""
        raise NotImplementedError

    def show(self) -> None:
        """Show ``figure`` in the notebook, else in the system's picture viewer."""
        # A notebook has imported it; elsewhere it is not needed.
        notebook = sys.modules.get("IPython")
        if notebook is not None and notebook.get_ipython() is not None:
            notebook.display.display(self)
        else:
            self.picture().show()

    def _repr_png_(self) -> bytes:
        return self._png(DRAWN, DPI)

    def _png(self, limit: int | None, dpi: int) -> bytes:
        target = io.BytesIO()
        self.figure(limit).savefig(target, format="png", dpi=dpi, metadata={"Software": None})
        return target.getvalue()

    def _image_tag(self, text: str) -> str:
        data = base64.b64encode(self._repr_png_()).decode("ascii")
        return f'<img alt="{escape(visible(text))}" src="data:image/png;base64,{data}" style="max-width:100%">'


@dataclass(frozen=True, eq=False)
class Explanation(_Picture):
    """Maps of one method and head on B images. All tensors are on the CPU.

    Attributes:
        triple: ``backbone/cam/head``.
        protocol: The choices that change a number.
        tau: Threshold τ of the boxes, a fraction of a map's highest level.
        image_ids: Names of the images.
        images: uint8 (B,3,R,R), as the network saw them before normalisation.
        sizes: Width and height (B,2) int64 of the originals.
        low_res: Score maps (B,h,w) at the feature map's resolution, after the protocol's sign rule: a run's ``map``.
        predicted: Class (B,) int64 of the softmax branch. probability: Its softmax probability (B,) float64.
        target: Class (B,) int64 whose evidence is drawn.
        score: Score (B,) float64 of the target under the head: softmax probability, or sigmoid of the logit.
        class_names: By class; empty where unknown.
        sources: The images as they were given, for pictures of their own size.
    """

    triple: Triple
    protocol: Protocol
    tau: float
    image_ids: tuple[str, ...]
    images: Tensor
    sizes: Tensor
    low_res: Tensor
    predicted: Tensor
    probability: Tensor
    target: Tensor
    score: Tensor
    class_names: tuple[str, ...] = ()
    sources: tuple[ImageLike, ...] = ()

    @property
    def maps(self) -> Tensor:
        """Maps (B,R,R) float64 in [0, 1], resized and min-max normalised; zero where ``degenerate``."""
        return self._located[0]

    @property
    def degenerate(self) -> Tensor:
        """uint8 (B,): 0 the map has contrast, 1 it is constant or empty, 2 it holds NaN or infinity."""
        return self._located[1]

    def boxes(self, tau: float | None = None) -> Tensor:
        """Box x0, y0, x1, y1 (B,4) int64, in pixels of the R×R map: the largest contour above a threshold.

        [0, 0, 0, 0] where nothing is above it. ``tau``: as a fraction of the map's highest level; ``self.tau`` where
        None. ValueError outside [0, 1].
        """
        return threshold_boxes(quantize(self.maps), self.tau if tau is None else tau, self.protocol)

    def original_boxes(self, tau: float | None = None) -> Tensor:
        """``boxes`` in pixels of the original images, (B,4) float64."""
        side = self.protocol.crop_from or self.protocol.size
        return (self.boxes(tau).double() + (side - self.protocol.size) // 2) * self.sizes.repeat(1, 2) / side

    def overlay(self, opacity: float = OPACITY, own_size: bool = False) -> list[Image.Image]:
        """The images under the colours of their maps, one a picture.

        Args:
            opacity: Of the colours, 0 to 1.
            own_size: In the size of the images as they were given, the maps resized to it (bilinear), instead of R×R.

        Raises:
            UsageError: ``own_size``, and an image is not where it was any more, or the protocol crops the images.
        """
        maps = self.maps.numpy()
        if not own_size:
            return [Image.fromarray(overlay(p, m, opacity)) for p, m in zip(self.colours, maps, strict=True)]
        if self.protocol.crop_from is not None:
            raise UsageError(f"own_size: under {self.protocol.name} a map covers the centre of its image only")
        drawn = []
        for source, channels, found in zip(self.sources, [self.images.shape[1]] * len(maps), maps, strict=True):
            pixels = colours_of(bands_of(source, channels))
            size = (pixels.shape[1], pixels.shape[0])
            large = Image.fromarray(found.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
            drawn.append(Image.fromarray(overlay(pixels, np.asarray(large), opacity)))
        return drawn

    @property
    def colours(self) -> npt.NDArray[np.uint8]:
        """``images`` as pictures (B,R,R,3): grey of one band, the first three of more."""
        return np.stack([colours_of(p) for p in self.images.permute(0, 2, 3, 1).numpy()])

    def class_name(self, label: int) -> str:
        """Name of a class, ``class 7`` where it has none."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"

    def frame(self) -> pd.DataFrame:
        """One row for each image: id, predicted class and probability, target and score, box, degenerate flag."""
        boxes = self.boxes().tolist()
        return pd.DataFrame(
            {
                "image_id": list(self.image_ids),
                "predicted": [self.class_name(k) for k in self.predicted.tolist()],
                "probability": self.probability.numpy(),
                "target": [self.class_name(k) for k in self.target.tolist()],
                "score": self.score.numpy(),
                "box": [tuple(box) if any(box) else None for box in boxes],
                "degenerate": self.degenerate.numpy(),
            }
        )

    def figure(self, limit: int | None = None, style: StyleName = "paper") -> Figure:
        """Input and map with box, one row for each image (the first ``limit``), as a matplotlib figure."""
        return _figure([self], limit, style)

    @cached_property
    def _located(self) -> tuple[Tensor, Tensor]:
        finished = CAMS.get(self.triple.cam).returns == "mask"
        rule = self.protocol.rule_for(self.triple.cam)
        _, norm, degenerate = locate(self.low_res, rule, self.protocol.size, finished=finished)
        return norm, degenerate

    def _file_name(self) -> str:
        return f"{file_name('-'.join(self.triple.names))}.png"

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, which: int | slice | str) -> Explanation:
        if isinstance(which, str):
            # As of several methods, of which this is one.
            if which == self.triple.cam:
                return self
            raise KeyError(f"{which}: these are the maps of {self.triple.cam} alone; ask for cam=[…] of several")
        rows = range(len(self))[which]
        chosen = [rows] if isinstance(rows, int) else list(rows)
        cut: dict[str, Any] = {
            f.name: getattr(self, f.name)[chosen] for f in fields(self) if isinstance(getattr(self, f.name), Tensor)
        }
        sources = tuple(self.sources[i] for i in chosen) if self.sources else ()
        return replace(self, image_ids=tuple(self.image_ids[i] for i in chosen), sources=sources, **cut)

    def __iter__(self) -> Iterator[Explanation]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.low_res.shape[1:]
        count = number_of(len(self), "image")
        return f"Explanation({self.triple}, {count}, maps {height}×{width}, protocol {self.protocol.name})"

    def _repr_html_(self) -> str:
        return f"<div>{self._image_tag(repr(self))}{_table(self[:DRAWN].frame())}{_more(len(self))}</div>"


class Explanations(_Picture, Mapping[str, Explanation]):
    """Explanations of the same images by several methods, by method name; side by side in pictures."""

    def __init__(self, members: Sequence[Explanation]) -> None:
        self._members = {e.triple.cam: e for e in members}

    def __getitem__(self, cam: str) -> Explanation:
        return self._members[cam]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def _file_name(self) -> str:
        triple = next(iter(self.values())).triple
        return f"{file_name('-'.join((triple.backbone, *self, triple.head)))}.png"

    def figure(self, limit: int | None = None, style: StyleName = "paper") -> Figure:
        """Input and a column for each method; one row for each image (the first ``limit``); a matplotlib figure."""
        return _figure(list(self.values()), limit, style)

    def frame(self) -> pd.DataFrame:
        """The members' rows, with a column ``cam`` in front."""
        parts = [e.frame() for e in self.values()]
        for cam, part in zip(self, parts, strict=True):
            part.insert(0, "cam", cam)
        return pd.concat(parts, ignore_index=True)

    def __repr__(self) -> str:
        return f"Explanations({', '.join(map(repr, self.values()))})"

    def _repr_html_(self) -> str:
        count = len(next(iter(self.values())))
        table = _table(Explanations([e[:DRAWN] for e in self.values()]).frame())
        scores = f"<details><summary>Scores and boxes</summary>{table}</details>"
        return f"<div>{self._image_tag(repr(self))}{scores}{_more(count)}</div>"


def _figure(members: Sequence[Explanation], limit: int | None, style: StyleName) -> Figure:
    shown = [e[:limit] for e in members]
    first = shown[0]
    columns = [MapColumn(CAMS.get(e.triple.cam).title, _head_title(e)) for e in shown]
    maps = [e.maps.numpy() for e in shown]
    boxes = [e.boxes().tolist() for e in shown]
    rows = []
    for i, pixels in enumerate(first.colours):
        tiles = [
            MapTile(overlay(pixels, maps[k][i]), [boxes[k][i]] if any(boxes[k][i]) else [], _score(e, i))
            for k, e in enumerate(shown)
        ]
        rows.append(MapRow("", _caption(first, i), pixels, [], tiles))
    note = f"{first.triple.backbone}, protocol {first.protocol.name}; green: the box of the map above τ = {first.tau:g}"
    return map_figure(columns, rows, note, style_named(style))


def _head_title(explanation: Explanation) -> str:
    return "" if CAMS.get(explanation.triple.cam).headless else HEADS.get(explanation.triple.head).title


def _score(explanation: Explanation, i: int) -> str:
    """What the head itself says of the drawn class, where that is not the prediction's probability over again."""
    score, same = float(explanation.score[i]), int(explanation.predicted[i]) == int(explanation.target[i])
    return "" if same and score == float(explanation.probability[i]) else f"score {_short(score)}"


def _short(score: float) -> str:
    return "< 0.01" if 0 < score < 0.01 else f"{score:.2f}"


def _caption(explanation: Explanation, i: int) -> str:
    predicted, target = int(explanation.predicted[i]), int(explanation.target[i])
    said = f"predicted {explanation.class_name(predicted)} ({_short(float(explanation.probability[i]))})"
    if target != predicted:
        said += f"; map of {explanation.class_name(target)}"
    # A dollar sign would start a formula.
    name = Path(explanation.image_ids[i]).name
    return visible(f"{name}: {said}").replace("$", r"\$")


def _table(frame: pd.DataFrame) -> str:
    """Rows of ``frame()`` as HTML; any name as text."""
    shown = frame.assign(**{name: frame[name].map(visible) for name in ("image_id", "predicted", "target")})
    table = shown.to_html(index=False, escape=True, border=0, float_format="{:.3f}".format)
    return f'<div style="overflow-x:auto">{table}</div>'


def _more(count: int) -> str:
    return f"<p>{count - DRAWN} more images</p>" if count > DRAWN else ""

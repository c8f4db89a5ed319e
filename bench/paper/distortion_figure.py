"""``cambench figure distortion``: Figure 1 and section 3.2 of the paper on a real head, drawn and measured."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...atomic import write_text
from ...baselines.cams import CAMS, CamMethod, supports
from ...baselines.contracts import BACKBONES, HEADS, Backbone, Branch
from ...protocol import Protocol
from ...results.figures import (
    ENDINGS,
    Pixels,
    ShiftBlock,
    ShiftChart,
    ShiftLine,
    ShiftRow,
    drawing,
    overlay,
    save_figure,
    shift_figure,
    style_named,
    targets_of,
)
from ...results.tables.grid import Cell, Document, Grid, to_csv, to_markdown
from ...text import visible
from ..figures.inputs import chosen_batch, ready_networks
from ..host.errors import UsageError
from .distortion import all_channels, classifier_of, distort, one_channel
from .requests import DistortionRequest
from .sensitivity import EQUATIONS, Curve, Equation, Rate, Sensitivity, measure_sensitivity

DRAWN_HEADS = ("softmax", "softmax_clamped", "sigmoid")
CSV_HEAD = (
    *("backbone", "cam", "head", "shifted", "equation", "channel", "delta_sigma", "delta_weight"),
    *("change_percent", "low", "high", "max_probability_change", "max_sigmoid_change", "images"),
)


def draw_distortion(request: DistortionRequest) -> tuple[Document, list[Path]]:
    """Measure, draw and write the figure and its tables; returns the table and the files.

    Writes the pictures that ``request.out`` names (``targets_of``), and ``.md`` and ``.csv`` beside them.

    Raises:
        UsageError: Shifts that are not positive; a method or network without what is measured. Otherwise as
            ``chosen_batch``, ``ready_networks`` and ``measure_sensitivity``.
    """
    output = request.out
    try:
        targets, look = targets_of(output), style_named(request.style)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not request.deltas or not request.collapse or min(*request.deltas, *request.collapse) <= 0:
        raise UsageError("shifts must be positive numbers, in standard deviations of the classifier's weights")
    method = CAMS.get(request.cam)
    protocol, table = request.rules, request.source.open()

    def branches(name: str, network: Backbone) -> list[Branch]:
        if (reason := supports(method, network)) is not None:
            raise UsageError(f"{name}/{request.cam}: {reason}")
        return ["softmax", "sigmoid"]

    ((_, network),) = ready_networks(request, [request.backbone], table, branches)
    batch = chosen_batch(request, table, protocol.size, protocol.crop_from)
    features = request.reading(network).see(batch.images, batch.image_ids, None).features
    # Shifted heads run in float64; converted once, their parameters are shared by all of them.
    network.heads.double()
    labels = batch.labels.to(request.where)
    found = measure_sensitivity(
        network, features, labels, method, protocol,
        channels=request.channels, deltas=(0.0, *request.deltas), collapse=(0.0, *request.collapse),
    )  # fmt: skip
    blocks = []
    for i in range(min(request.drawn, len(batch))):
        image = batch.images[i].permute(1, 2, 0).numpy()
        one = _Shifted(features[i : i + 1], labels[i : i + 1], image, _short(batch.image_ids[i]))
        blocks += [_block(network, one, method, protocol, found, equation) for equation in EQUATIONS]
    title = f"Does the map move when no probability does? {method.title} on {_title(request.backbone)}"
    with drawing(look):
        files = save_figure(shift_figure(title, blocks, _charts(found), look), targets, request.dpi)
    document = _document(request, found, table.name)
    base = output.with_suffix("") if output.suffix.lower() in ENDINGS else output
    markdown, csv = (base.with_name(base.name + ending) for ending in (".md", ".csv"))
    write_text(markdown, to_markdown(document))
    write_text(csv, to_csv(CSV_HEAD, _rows(request, found)))
    return document, [*files, markdown, csv]


def _shifts(found: Sensitivity, equation: Equation, inputs: int) -> tuple[tuple[float, ...], Tensor]:
    deltas = next(c.deltas for c in found.curves if c.equation == equation)
    scaled = torch.tensor(deltas, dtype=torch.float64) * found.unit
    if equation == "Eq. 9":
        return deltas, one_channel(torch.tensor([found.channel]), scaled, inputs)
    return deltas, all_channels(scaled, inputs)


class _Shifted(NamedTuple):
    """One image of the figure: its features (1,N,P,Q) and label (1,), its pixels (H,W,3) and name."""

    features: Tensor
    label: Tensor
    pixels: Pixels
    caption: str


def _block(
    network: Backbone,
    picture: _Shifted,
    method: CamMethod,
    protocol: Protocol,
    found: Sensitivity,
    equation: Equation,
) -> ShiftBlock:
    inputs = classifier_of(network.head("softmax")).weight.shape[1]
    features = picture.features
    deltas, shifts = _shifts(found, equation, inputs)
    rows = []
    for name in DRAWN_HEADS:
        head = HEADS.get(name)
        here = distort(network, features, picture.label, shifts.to(features.device), method, head, protocol)
        target = here.probabilities[0, 0].argmax()
        p = here.probabilities[:, 0, target].tolist()
        change = (100 * (here.maps - here.maps[:1]).abs().mean((1, 2, 3))).tolist()
        maps = here.maps[:, 0].cpu().numpy()
        empty = (here.maps.amax((1, 2, 3)) == 0).tolist()
        captions = [
            f"p = {value:.4f}\nmoved {moved:.1f} %{', empty' if gone else ''}"
            for value, moved, gone in zip(p, change, empty, strict=True)
        ]
        rows.append(ShiftRow(head.title, [overlay(picture.pixels, m) for m in maps], captions))
    if equation == "Eq. 9":
        title = f"The weight of one channel (number {found.channel}) is raised by δ in every class (Eq. 9)"
    else:
        title = "Every weight is lowered by Δ (Eq. 10)"
    symbol = "δ = " if equation == "Eq. 9" else "Δ = "
    heads = [f"{symbol}{d:g} σ" if d else f"{symbol}0" for d in deltas]
    return ShiftBlock(title, picture.pixels, picture.caption, heads, rows)


def _title(backbone: str) -> str:
    return (BACKBONES.get(backbone).title if backbone in BACKBONES else "") or backbone


def _short(image_id: str, longest: int = 20) -> str:
    """The last part of an id, with its middle left out where it is long."""
    name = visible(image_id.rsplit("/", 1)[-1])
    half = longest // 2
    return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def _charts(found: Sensitivity) -> list[ShiftChart]:
    charts = []
    words = ("One channel raised", f"δ at channel {found.channel} (σ)"), ("All weights lowered", "Δ (σ)")
    for equation, (what, axis) in zip(EQUATIONS, words, strict=True):
        lines = []
        for curve in (c for c in found.curves if c.equation == equation):
            ends = [curve.interval(i) for i in range(len(curve.deltas))]
            percent = (100 * curve.change.mean(1)).tolist()
            low, high = [100 * e.low for e in ends], [100 * e.high for e in ends]
            title, own = HEADS.get(curve.head).title, curve.shifted == "sigmoid"
            lines.append(ShiftLine(title, curve.deltas, percent, low, high, dashed=own, name=curve.head))
        charts.append(ShiftChart(f"{what} ({equation}), {found.images} images", axis, lines))
    return charts


def _document(request: DistortionRequest, found: Sensitivity, dataset: str) -> Document:
    head = ("Head", "Eq. 9 (%/σ)", "Eq. 10 (%/σ)", "max |Δp|")
    own_head = (*head[:-1], "max |Δs|")
    deciding = [_line(found, r, own=False) for r in found.rates if r.shifted == "softmax" and r.equation == "Eq. 9"]
    own = [_line(found, r, own=True) for r in found.rates if r.shifted == "sigmoid" and r.equation == "Eq. 9"]
    channels = len(found.channels)
    return Document(
        f"Shift sensitivity of {request.backbone}/{request.cam}",
        [
            Grid("Shift of the softmax branch: no probability changes", head, deciding),
            Grid("The same shift of the sigmoid branch's own weights: its scores change", own_head, own),
        ],
        facts=[
            ("Images", f"{found.images} of {dataset} {request.split}"),
            ("Protocol", request.protocol),
            ("σ", f"{found.unit:.6g}, the standard deviation of the softmax classifier's weights"),
            ("Eq. 9", f"mean over the {channels} channels of largest mean input; drawn: channel {found.channel}"),
        ],
        notes=[
            "Shift sensitivity: mean over images and pixels of the change of the normalised map, in % of its range, "
            "at a shift of one σ of the weights of every class (Eq. 9: of one channel; Eq. 10: −σ at all channels). In "
            "brackets its 95 % interval. max |Δp|, |Δs|: largest change of a softmax probability, of a sigmoid score.",
            "The sigmoid heads draw their maps from a clone with weights of its own: a shift of the deciding branch "
            "reaches them only through the predicted class, which it keeps.",
        ],
    )


def _line(found: Sensitivity, nine: Rate, *, own: bool) -> tuple[Cell, ...]:
    ten = next(r for r in found.rates if (r.head, r.shifted, r.equation) == (nine.head, nine.shifted, "Eq. 10"))
    cells = [Cell(HEADS.get(nine.head).title)]
    cells += [Cell(f"{rate.percent:.4f} {rate.interval.text(4)}") for rate in (nine, ten)]
    largest = max(nine.score or 0.0, ten.score or 0.0) if own else max(nine.probability, ten.probability)
    return (*cells, Cell(f"{largest:.3g}"))


def _rows(request: DistortionRequest, found: Sensitivity) -> list[tuple[str | float | int | None, ...]]:
    """Rates first (channel empty: the mean over channels), then every point of every curve."""
    rows: list[tuple[str | float | int | None, ...]] = []
    for rate in found.rates:
        who = (request.backbone, request.cam, rate.head, rate.shifted, rate.equation, None, 1.0, found.unit)
        values = (rate.percent, rate.interval.low, rate.interval.high, rate.probability, rate.score, found.images)
        rows.append((*who, *values))
    for curve in found.curves:
        rows += [_point(request, found, curve, i) for i in range(1, len(curve.deltas))]
    return rows


def _point(
    request: DistortionRequest, found: Sensitivity, curve: Curve, at: int
) -> tuple[str | float | int | None, ...]:
    delta, ends = curve.deltas[at], curve.interval(at)
    return (
        *(request.backbone, request.cam, curve.head, curve.shifted, curve.equation),
        *(curve.channel, delta, delta * found.unit),
        *(100 * float(curve.change[at].mean()), 100 * ends.low, 100 * ends.high, float(curve.probability[at])),
        *(None if curve.score is None else float(curve.score[at]), found.images),
    )

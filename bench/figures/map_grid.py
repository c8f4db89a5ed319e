"""``cambench figure maps``: Figure 3 of the paper for any data set and any triples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...baselines.cams import CAMS
from ...baselines.contracts import BACKBONES, HEADS, Backbone, Branch
from ...datasets.schema import Batch, SampleTable
from ...metrics.functional.boxes import level_ious, quantize
from ...metrics.functional.localisation import levels_at
from ...metrics.functional.no_contour import reference_levels
from ...metrics.functional.single_box import threshold_boxes
from ...protocol import Protocol
from ...results.figures import (
    MapColumn,
    MapRow,
    MapTile,
    drawing,
    map_figure,
    overlay,
    save_figure,
    style_named,
    targets_of,
)
from ...text import visible
from ...triple import Triple
from ..engine.planning.given import check_names
from ..engine.planning.plan import BackbonePlan, plan_backbone
from ..engine.planning.triples import expand_patterns
from ..engine.scoring.reading import Reading
from ..host.errors import UsageError
from .figure_request import FigureRequest
from .inputs import chosen_batch, ready_networks

DPI = 150
Column = tuple[str, str]
"""CAM method and head, by name."""


def draw_maps(
    request: FigureRequest,
    patterns: Sequence[str],
    output: Path,
    *,
    tau: float | None = None,
    dpi: int = DPI,
    style: str = "paper",
) -> list[Path]:
    """Draw the maps of every triple on the chosen images; returns the files written (``targets_of``).

    Args:
        request: Data, images, heads, protocol. patterns: Triples, as in a run. output: PNG, PDF, SVG, or all.
        tau: Threshold of the predicted box; None for the protocol's ``loc_tau``.
        dpi: Pixels an inch of a PNG. style: ``paper`` or ``screen``.

    Raises:
        UsageError: A file format that cannot be written, an impossible triple. Otherwise as ``ready_networks``,
            ``expand_patterns`` and ``chosen_batch``.
    """
    try:
        targets, look = targets_of(output), style_named(style)
    except ValueError as error:
        raise UsageError(str(error)) from None
    protocol, wanted, table = request.rules, expand_patterns(patterns), request.source.open()
    threshold = protocol.loc_tau if tau is None else tau
    names = list(dict.fromkeys(w.triple.backbone for w in wanted))
    check_names(request.config(["*/*/*"], Path()), names)
    batch = chosen_batch(request, table, protocol.size, protocol.crop_from)
    columns = _columns([w.triple for w in wanted])
    rows: list[MapRow] = []
    plans: dict[str, BackbonePlan] = {}

    def branches(name: str, network: Backbone) -> set[Branch]:
        plans[name] = plan_backbone(name, wanted, network, protocol)
        return plans[name].branches

    for name, network in ready_networks(request, names, table, branches):
        group = (BACKBONES.get(name).title if name in BACKBONES else name) if len(names) > 1 else ""
        picture = _GridPicture(request.reading(network), batch, table, threshold)
        rows += picture.rows(plans[name], columns, group)
    if not rows:
        raise UsageError(f"no triple of {' '.join(patterns)} is possible on its network")
    heads = [MapColumn(CAMS.get(cam).title, _head_title(cam, head)) for cam, head in columns]
    note = f"{table.name} {table.split}, protocol {protocol.name}, τ = {threshold:g}"
    with drawing(look):
        return save_figure(map_figure(heads, rows, note, look), targets, dpi)


def _columns(triples: Sequence[Triple]) -> list[Column]:
    """Methods in the order in which they were asked for, the heads of each in the order of the registry."""
    order = {head: k for k, head in enumerate(HEADS)}
    cams = list(dict.fromkeys(t.cam for t in triples))
    return sorted({(t.cam, t.head) for t in triples}, key=lambda c: (cams.index(c[0]), order[c[1]]))


def _head_title(cam: str, head: str) -> str:
    return "" if CAMS.get(cam).headless else HEADS.get(head).title


class _GridPicture:
    """The rows of one network: its maps of the chosen images, a column a method and head."""

    def __init__(self, reading: Reading, batch: Batch, table: SampleTable, tau: float) -> None:
        self.batch, self.table, self.tau, self.protocol = batch, table, tau, reading.protocol
        with torch.no_grad():
            self.seen = reading.see(batch.images, batch.image_ids, reading.drawn_class(batch.labels))

    def rows(self, plan: BackbonePlan, columns: Sequence[Column], group: str) -> list[MapRow]:
        """One row for each image; ``group`` is the network's title, empty where there is one network."""
        batch, pictures = self.batch, [image.permute(1, 2, 0).numpy() for image in self.batch.images]
        tiles = {triple: _tiles(self._norm(triple), batch, pictures, self.tau, self.protocol) for triple in plan.maps}
        rows = []
        for i, image in enumerate(pictures):
            row: list[MapTile | None] = []
            for cam, head in columns:
                triple = Triple(plan.name, cam, head)
                row.append(tiles[plan.aliases.get(triple, triple)][i] if triple in plan.triples else None)
            caption = _caption(batch.image_ids[i], int(batch.labels[i]), int(self.seen.predicted[i]), self.table)
            rows.append(MapRow(group, caption, image, batch.gt_boxes[i].tolist(), row))
        return rows

    def _norm(self, triple: Triple) -> Tensor:
        """Normalised maps (B,R,R) float64 on the CPU, as boxes are read from in a run."""
        with torch.no_grad():
            _, norm, _ = self.seen.score_map(CAMS.get(triple.cam), HEADS.get(triple.head)).locate()
        return norm.cpu()


def _tiles(norm: Tensor, batch: Batch, pictures: Sequence[np.ndarray], tau: float, protocol: Protocol) -> list[MapTile]:
    levels = quantize(norm)
    boxes = threshold_boxes(levels, tau, protocol).tolist()
    curves = level_ious(levels, batch.gt_boxes, batch.image_ids, no_contour=protocol.no_contour)
    at = levels_at(torch.tensor([tau], dtype=torch.float64), reference_levels(levels, protocol))
    ious = curves.single.gather(1, at)[:, 0].tolist()
    return [
        MapTile(
            overlay(picture, norm[i].numpy()),
            [boxes[i]] if any(boxes[i]) else [],
            f"IoU {ious[i]:.2f}" if len(batch.gt_boxes[i]) else "",
        )
        for i, picture in enumerate(pictures)
    ]


def _caption(image_id: str, label: int, predicted: int, table: SampleTable) -> str:
    def name(k: int) -> str:
        return visible(table.class_names[k]) if k < len(table.class_names) else f"class {k}"

    return f"{visible(image_id.rsplit('/', 1)[-1])}: {name(label)}; predicted: {name(predicted)}"

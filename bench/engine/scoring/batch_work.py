"""One batch on the device, and what all its maps share: fidelity, masks, regions, what metrics may read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ....baselines.cams import CAMS
from ....baselines.contracts import HEADS
from ....datasets.schema import Batch
from ....metrics import MapBatch
from ....metrics.functional.host_copies import upload
from ....metrics.functional.pointing import box_regions
from ....triple import Triple
from .masked_scores import Fidelity
from .randomised import Randomised, Redrawn
from .reading import Reading, Seen
from .scope import Columns
from .without_network import BareReading, no_network


def see(reading: Reading, batch: Batch) -> Seen:
    """What a network sees of a batch, for the class that its maps are drawn for."""
    return reading.see(batch.images, batch.image_ids, reading.drawn_class(batch.labels))


def fidelity_of(reading: Reading, seen: Seen) -> Fidelity | None:
    """What scores masked images; None where no network stands behind the maps."""
    if isinstance(reading, BareReading):
        return None
    return Fidelity(reading.network, reading.protocol, reading.features, seen.pixels, seen.target)


def own_score(fidelity: Fidelity | None, seen: Seen) -> Tensor | None:
    """Scores (B,) of a batch's images as they are; None where no network stands behind the maps."""
    return None if fidelity is None else fidelity.score(seen.features, seen.logits)


class BatchWork:
    """One batch on the device, and what all its maps share; ``regions``: metrics may ask for the boxes' regions."""

    def __init__(
        self,
        batch: Batch,
        seen: Seen,
        fidelity: Fidelity | None,
        y: Tensor | None,
        random: Randomised,
        regions: bool,
    ) -> None:
        device = seen.pixels.device
        self.batch, self.seen, self.fidelity, self.y = batch, seen, fidelity, y
        self._again = random.see_again(batch.images, seen)
        self.labels = upload(batch.labels, device)
        self.masks = upload(batch.masks, device) if batch.masks is not None else None
        self.parts = upload(batch.evidence, device) if batch.evidence is not None else None
        self._regions = box_regions(batch.gt_boxes, seen.reading.protocol.size, device) if regions else None

    def maps(self, norm: Tensor, up: Tensor, triple: Triple) -> MapBatch:
        """What the metrics may read of one triple's maps."""
        return MapBatch(
            self.batch.image_ids,
            norm,
            up.clamp_min(0),
            self.seen.pixels,
            self.batch.gt_boxes,
            self._regions,
            self.masks,
            self.parts,
            self.seen.reading.protocol,
            no_network if self.fidelity is None else self.fidelity.score_images,
            Redrawn(self._again, CAMS.get(triple.cam), HEADS.get(triple.head)),
            self.labels,
            None if self.fidelity is None else self.seen.logits,
        )


def shared_columns(batch: Batch, has_boxes: bool) -> Columns:
    """What every row of a batch's images holds, whatever the map."""
    return {
        "image_id": np.asarray(batch.image_ids, dtype=object),
        "index": batch.index.numpy(),
        "label": batch.labels.numpy(),
        **({"n_boxes": np.array([len(b) for b in batch.gt_boxes])} if has_boxes else {}),
    }


def sharing(maps: Sequence[Triple]) -> dict[tuple[str, str], tuple[Triple, ...]]:
    """Method and branch -> the triples that weigh channels by the same weights, where there are several."""
    found: dict[tuple[str, str], list[Triple]] = {}
    for triple in maps:
        if CAMS.get(triple.cam).returns == "weights":
            found.setdefault((triple.cam, HEADS.get(triple.head).branch), []).append(triple)
    return {key: tuple(triples) for key, triples in found.items() if len(triples) > 1}

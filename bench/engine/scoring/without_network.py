"""Maps that no network stands behind: read, located and scored as all others; nothing is predicted, nothing masked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ....baselines.cams import CHUNK_BYTES, CamMethod
from ....baselines.contracts import HeadSpec
from ....metrics import NotMeasurableError
from ....metrics.functional.host_copies import upload
from ....protocol import Protocol
from .reading import Reading, ScoreMap, Seen

MapsOf = Callable[[CamMethod, HeadSpec, Sequence[str]], ScoreMap]
"""The score map of a method and head for images by id."""
NO_CLASS = -1
"""What stands for the predicted class where nothing predicts."""


class BareReading(Reading):
    """A protocol's reading of maps that are there already.

    Args:
        protocol: The choices that change a number.
        device: Where maps are scored.
        maps_of: Gives the maps.
    """

    def __init__(self, protocol: Protocol, device: torch.device, maps_of: MapsOf) -> None:
        self.protocol, self.device, self.maps_of = protocol, device, maps_of
        self.chunk_bytes, self.fill_chunks = CHUNK_BYTES, False
        self._no_notes()

    @property
    def name(self) -> str:
        """As of ``Reading``."""
        return "maps without a network"

    @property
    def making_ms(self) -> float:
        """As of ``Reading``."""
        return 0.0

    def see(self, images: Tensor, image_ids: Sequence[str], drawn: Tensor | None) -> Seen:
        """A batch of images uint8 (B,3,R,R) without a forward; ``drawn``: classes (B,) of which the maps are."""
        pixels = self.pixels(images)
        none = pixels.new_empty(0)
        nothing = torch.full((len(images),), NO_CLASS, device=self.device)
        target = nothing if drawn is None else upload(drawn, self.device)
        return _BareSeen(self, tuple(image_ids), pixels, none, none, none, nothing, target)

    def drawn_class(self, labels: Tensor) -> Tensor | None:
        """The labels: where nothing is predicted, a map is taken to be of its image's class."""
        return labels


class _BareSeen(Seen):
    @property
    def feature_shape(self) -> tuple[int, int, int] | None:
        return None

    def keep(self, method: CamMethod, head: HeadSpec) -> None:
        pass  # maps that are there already need no weights

    def forget(self, method: CamMethod, head: HeadSpec) -> None:
        pass

    def score_map(self, method: CamMethod, head: HeadSpec) -> ScoreMap:
        reading = self.reading
        assert isinstance(reading, BareReading)
        return reading.maps_of(method, head, self.image_ids)


def no_network(images: Tensor, index: Tensor) -> Tensor:
    """What a metric that scores images gets where nothing can score them: ``NotMeasurableError``."""
    del images, index
    raise NotMeasurableError("it scores images, and no network stands behind these maps")

"""A metric: one value an image, stored with the records; tables show its mean."""

from torch import Tensor

from cambench.metrics.spec import MapBatch, MetricSpec


def map_area(batch: MapBatch) -> Tensor:
    """Share of pixels on which the normalised map is at least one half; (B,) float64 in [0, 1]."""
    return (batch.maps >= 0.5).double().mean((1, 2))


MAP_AREA = MetricSpec(
    name="map_area",
    title="Map area",
    higher_is_better=False,
    unit="%",
    source="an example: share of pixels on which the map is at least one half",
    per_image=map_area,
)

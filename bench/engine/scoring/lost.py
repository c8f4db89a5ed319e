"""What fails in a pass and loses itself alone: methods, metrics, the network; each with the image where it failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ....baselines.cams import CAMS
from ....baselines.contracts import HEADS
from ....datasets.schema import Batch
from ....metrics import MetricSpec
from ....results.records.columns import EXTRA
from ....results.records.markers import LOST_METRIC
from ....triple import Triple
from ...host.errors import RunError
from .batch_work import fidelity_of, own_score, see
from .losses import BadReturnError, Culprit, first_failing
from .reading import Reading


class Lost:
    """What is lost of a pass over ``maps``.

    Attributes:
        why: Triple, or ``metric NAME`` -> what failed, in one sentence; the first failure stays.
    """

    def __init__(self, reading: Reading, maps: Sequence[Triple], measures: Sequence[MetricSpec]) -> None:
        self.reading, self.maps, self.measures = reading, tuple(maps), tuple(measures)
        self.why: dict[str, str] = {}

    def has(self, triple: Triple) -> bool:
        """Whether a triple is lost."""
        return str(triple) in self.why

    def has_metric(self, name: str) -> bool:
        """Whether a metric is lost."""
        return f"{LOST_METRIC}{name}" in self.why

    @property
    def columns(self) -> set[str]:
        """Columns of the metrics that are lost."""
        return {f"{EXTRA}{what.removeprefix(LOST_METRIC)}" for what in self.why if what.startswith(LOST_METRIC)}

    def method(self, triple: Triple, batch: Batch, error: BaseException) -> None:
        """A triple's method failed on a batch."""
        method, head = CAMS.get(triple.cam), HEADS.get(triple.head)

        def attempt(count: int) -> object:
            return see(self.reading, batch.head(count)).score_map(method, head).locate()

        self.why[str(triple)] = Culprit(method.fn, error).said(first_failing(attempt, batch.image_ids))

    def metric(
        self, spec: MetricSpec, triple: Triple, error: BaseException, again: Callable[[int], object], ids: Sequence[str]
    ) -> None:
        """A metric failed on a triple's maps; ``again`` computes it anew on so many first images."""
        self._metric(spec, triple, error, first_failing(again, ids))

    def network(self, batch: Batch, error: BaseException) -> None:
        """The network failed on a batch, and all maps with it.

        Raises:
            RunError: There are no maps: nothing is left of the pass.
        """

        def attempt(count: int) -> object:
            seen = see(self.reading, batch.head(count))
            return own_score(fidelity_of(self.reading, seen), seen)

        said = Culprit(type(self.reading.network).features, error).said(first_failing(attempt, batch.image_ids))
        if not self.maps:
            raise RunError(f"{self.reading.name}: {said}") from error
        for triple in self.maps:
            self.why.setdefault(str(triple), said)

    def check(self, triple: Triple, columns: Mapping[str, npt.NDArray[np.generic]], ids: Sequence[str]) -> None:
        """Lose the metric, or the network, whose score is no finite number."""
        for name in (n for n in columns if n in ("y", "o") or n.startswith(EXTRA)):
            bad = ~np.isfinite(columns[name])
            if not bad.any():
                continue
            at = [ids[int(bad.argmax())]]
            if name in ("y", "o"):
                self._scores("the image" if name == "y" else "the image behind the map", triple, at)
            else:
                spec = next(s for s in self.measures if name == f"{EXTRA}{s.name}")
                self._metric(spec, triple, BadReturnError("returned a value that is not a finite number"), at)

    def _scores(self, what: str, triple: Triple, at: Sequence[str]) -> None:
        """Scores of the image itself are those of all maps."""
        fault = BadReturnError(f"the network's class score of {what} is not a finite number")
        for lost in self.maps if what == "the image" else (triple,):
            self.why.setdefault(str(lost), Culprit(type(self.reading.network).features, fault).said(at))

    def _metric(self, spec: MetricSpec, triple: Triple, error: BaseException, at: Sequence[str]) -> None:
        assert spec.per_image is not None
        said = Culprit(spec.per_image, error).said(at)
        self.why.setdefault(f"{LOST_METRIC}{spec.name}", f"on the maps of {triple}, {said}")

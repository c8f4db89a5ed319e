"""The further metrics of a run on a batch's maps, each of which may fail by itself."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ....baselines.cams import CAMS
from ....baselines.contracts import HEADS
from ....datasets.schema import Batch
from ....metrics import MetricSpec, NotMeasurableError
from ....results.records.columns import EXTRA
from ....triple import Triple
from .batch_work import BatchWork, fidelity_of, own_score, see
from .located import Located
from .losses import is_loss
from .lost import Lost
from .masked_scores import Fidelity
from .measures import measure
from .randomised import Randomised
from .reading import Reading, Seen
from .scope import Scoring


class Measuring:
    """What is measured beside the engine's own scores.

    Args:
        reading: The network and protocol.
        scoring: Its ``measures`` are evaluated.
        lost: Takes a metric that fails.
    """

    def __init__(self, reading: Reading, scoring: Scoring, lost: Lost) -> None:
        self._reading, self._scoring, self._lost = reading, scoring, lost
        self._random = Randomised(reading)
        self._regions = scoring.has_boxes and bool(scoring.measures)

    def work(self, batch: Batch, seen: Seen, fidelity: Fidelity | None, y: Tensor | None) -> BatchWork:
        """A batch on the device, with what metrics may ask for."""
        return BatchWork(batch, seen, fidelity, y, self._random, self._regions)

    def columns(self, work: BatchWork, maps: Located, triple: Triple) -> dict[str, Tensor]:
        """The values (B,) of every metric on one triple's maps, without those that are lost or cannot be measured."""
        given, found = work.maps(maps.norm, maps.up, triple), dict[str, Tensor]()
        for spec in self._scoring.measures:
            if self._lost.has_metric(spec.name):
                continue
            try:
                found[f"{EXTRA}{spec.name}"] = measure(spec, given)
            except NotMeasurableError:
                continue
            except (Exception, SystemExit) as error:
                if not is_loss(error):
                    raise
                again = partial(self._first, spec, triple, work.batch)
                self._lost.metric(spec, triple, error, again, given.image_ids)
        return found

    def _first(self, spec: MetricSpec, triple: Triple, batch: Batch, count: int) -> Tensor:
        """The metric on the first images of a batch, computed anew."""
        batch = batch.head(count)
        seen = see(self._reading, batch)
        up, norm, _ = seen.score_map(CAMS.get(triple.cam), HEADS.get(triple.head)).locate()
        fidelity = fidelity_of(self._reading, seen)
        work = self.work(batch, seen, fidelity, own_score(fidelity, seen))
        return measure(spec, work.maps(norm, up, triple))

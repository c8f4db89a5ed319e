"""The one pass: batches go in; the per-image scores of every distinct map of a backbone come out.

One backbone forward without autograd, one head gradient per branch, one resize per distinct map, one masked forward
per distinct map. Box levels are integer work on the CPU: worker threads do it beside the device's next stage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....baselines.cams import CAMS
from ....baselines.contracts import HEADS
from ....datasets.schema import Batch
from ....metrics.functional.boxes import join_boxes
from ....metrics.functional.fidelity import evidence_precision
from ....metrics.functional.host_copies import HostCopies
from ....metrics.functional.no_contour import reference_levels
from ....text import first_line
from ....triple import Triple
from ...host.errors import RunError
from ...host.memory import is_out_of_memory
from .batch_work import BatchWork, fidelity_of, own_score, see, shared_columns, sharing
from .chunks import does_not_fit
from .clock import StageClock, weights_of
from .located import Drawn, Located, histograms_of, in_groups, locate_group, maps_at_once
from .losses import BadReturnError, is_device_failure, is_loss
from .lost import Lost
from .masked_scores import MaskedScores
from .measuring import Measuring
from .pass_boxes import DEVICE_ONLY, BatchBoxes, Boxes
from .reading import Reading, ScoreMap, SizedMaps
from .scope import Columns, Rows, Scoring

AHEAD = 4
"""Batches whose boxes may wait for the kernels to be compiled; what waits is kept in memory."""


@dataclass
class BatchScores:
    """Scores of one batch that are on their way to the host or in a worker thread."""

    batch: Batch
    shared: Columns
    columns: HostCopies[tuple[Triple | None, str]]
    boxes: BatchBoxes | None


class OnePass:
    """Scores all distinct maps of one backbone, batch by batch.

    A method, metric or network that fails loses itself alone: it is in ``lost`` from then on, and in no row.

    Args:
        reading: The network, with every branch that ``maps`` need, under the run's protocol.
        maps: Distinct (canonical) triples of this backbone.
        scoring: What is scored of every map.
        clock: Takes the time of every stage.

    Attributes:
        feature_shape: Channels, rows and columns of the feature map, once a batch was seen.
    """

    def __init__(self, reading: Reading, maps: Sequence[Triple], scoring: Scoring, clock: StageClock) -> None:
        self.reading, self.maps, self.clock = reading, tuple(maps), clock
        clock.aside = lambda: reading.making_ms
        self._scoring = scoring
        self._boxes: Boxes | None = None
        if scoring.has_boxes and not scoring.measures_only:
            rule = reading.protocol.no_contour
            self._boxes = Boxes(scoring.box_engine, scoring.box_threads, rule, scoring.iou_thresholds, clock)
        self._shared_weights = sharing(self.maps)
        self._cells: dict[Triple, tuple[int, ...]] = {}
        self.feature_shape: tuple[int, int, int] | None = None
        self._lost = Lost(reading, maps, scoring.measures)
        self._measuring = Measuring(reading, scoring, self._lost)

    @property
    def lost(self) -> dict[str, str]:
        """Triple, or ``metric NAME`` -> why, in one sentence."""
        return self._lost.why

    def close(self) -> None:
        """Stop the box threads."""
        if self._boxes is not None:
            self._boxes.pool.close()

    def over(self, batches: Iterable[Batch]) -> Iterator[Rows]:
        """Columns (B, …) per distinct triple of every batch that has images, in order.

        The boxes of a batch are waited for only after the next batch is on its way; while their kernels are yet to be
        compiled, ``AHEAD`` batches go on.

        Raises:
            RunError: Ground truth that is wrong; the message names the image. The device failed; device and step.
            BatchMemoryError: A batch does not fit into the device's memory.
        """
        try:
            yield from self._over(batches)
        except Exception as error:
            if not is_device_failure(error):
                raise
            raise RunError(
                f"{self.reading.name}: {self.reading.device} failed at the step {self.clock.last!r} "
                f"({first_line(error)}); its shard is not written, all earlier ones are: give the same "
                "command again to continue"
            ) from error

    def _over(self, batches: Iterable[Batch]) -> Iterator[Rows]:
        waiting, source = deque[BatchScores](), iter(batches)
        while self.alive:
            with self.clock.stage("load"):
                batch = next(source, None)
            if batch is None:
                break
            if len(batch):
                waiting.append(self._begin_or_say(batch))
            while len(waiting) > (1 if self._boxes is None or self._boxes.pool.ready else AHEAD):
                yield self.finish(waiting.popleft())
        while waiting:
            yield self.finish(waiting.popleft())

    @property
    def alive(self) -> bool:
        """Some map, or the plain forward where there are none to make, is still to be computed."""
        if self._scoring.measures_only and all(self._lost.has_metric(m.name) for m in self._scoring.measures):
            return False
        return not self.maps or not all(map(self._lost.has, self.maps))

    def _begin_or_say(self, batch: Batch) -> BatchScores:
        """``begin``, with the largest batch and chunk that fit named where memory runs out."""
        try:
            return self.begin(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, so that the failed attempt's tensors are gone.
        raise does_not_fit(self.begin, self.reading, batch, f"{self.reading.name}, {len(self.maps)} maps")

    @torch.no_grad()
    def begin(self, batch: Batch) -> BatchScores:
        """Set out to score every distinct map of a batch (B ≥ 1 decoded images)."""
        if self._scoring.has_boxes:
            try:
                join_boxes(batch.gt_boxes, len(batch), batch.image_ids)
            except (TypeError, ValueError) as error:
                raise RunError(f"ground truth: {error}") from error
        try:
            with self.clock.stage("forward"):
                seen = see(self.reading, batch)
            fidelity = fidelity_of(self.reading, seen)
            asked = fidelity if self._scoring.fidelity else None
            with self.clock.stage("fidelity"):
                y = own_score(asked, seen)
        except (Exception, SystemExit) as error:
            if not is_loss(error):
                raise
            self._lost.network(batch, error)
            return BatchScores(batch, {}, HostCopies({}), None)
        self.feature_shape = seen.feature_shape
        self.clock.count(len(batch))
        work = self._measuring.work(batch, seen, fidelity, y)
        boxes = self._boxes.batch(batch.gt_boxes) if self._boxes is not None else None
        columns: dict[tuple[Triple | None, str], Tensor] = {
            (None, "predicted"): seen.predicted,
            (None, "target"): seen.target,
        }
        self._gradients(work)
        masked = MaskedScores(asked, self.reading, self.clock)
        for group in in_groups(self._drawn(work), maps_at_once(self.reading, len(batch))):
            for triple, found in self._scored(work, group, boxes, masked):
                columns |= {(triple, name): values for name, values in found.items()}
        columns |= {(triple, "o"): values for triple, values in masked.all().items() if not self._lost.has(triple)}
        if boxes is not None:
            columns |= boxes.on_device()
        return BatchScores(batch, shared_columns(batch, self._scoring.has_boxes), HostCopies(columns), boxes)

    def _gradients(self, work: BatchWork) -> None:
        """Asked for first, so that the head's backward is timed as a head, not as the first method's map."""
        for triple in self.maps:
            if "gradients" in CAMS.get(triple.cam).needs and not self._lost.has(triple):
                branch = HEADS.get(triple.head).branch
                with self.clock.stage("heads", branch):
                    try:
                        _ = work.seen.evidence(branch).gradients
                    except Exception as error:
                        if not is_loss(error):
                            raise
                        # The method asks for it again, and is lost with it.

    def _drawn(self, work: BatchWork) -> Iterator[Drawn]:
        """The score maps of all triples, one after the other; none of a method that is lost."""
        for triple in self.maps:
            if self._lost.has(triple):
                continue
            method, head = CAMS.get(triple.cam), HEADS.get(triple.head)
            sharing = self._shared_weights.get((triple.cam, head.branch), ())
            try:
                if sharing and triple == sharing[0]:
                    with self.clock.stage("maps", weights_of(triple)):
                        work.seen.keep(method, head)
                with self.clock.stage("maps", triple):
                    score_map = work.seen.score_map(method, head)
                self._check_cells(triple, score_map)
                if sharing and triple == sharing[-1]:
                    work.seen.forget(method, head)
            except (Exception, SystemExit) as error:
                if not is_loss(error):
                    raise
                self._lost.method(triple, work.batch, error)
                continue
            yield triple, score_map

    def _check_cells(self, triple: Triple, score_map: ScoreMap) -> None:
        """Raise where a method's maps are of another size than in an earlier batch: they are columns of one table."""
        if isinstance(score_map, SizedMaps):
            return
        cells = tuple(score_map.low.shape[1:])
        if (first := self._cells.setdefault(triple, cells)) != cells:
            raise BadReturnError(
                f"returned maps of {cells} cells, and of {first} for earlier images; give all one size"
            )

    def _scored(
        self, work: BatchWork, group: Sequence[Drawn], boxes: BatchBoxes | None, masked: MaskedScores
    ) -> Iterator[tuple[Triple, dict[str, Tensor]]]:
        """The columns of a group's triples on the device, without boxes and masked scores, which set out."""
        try:
            with self.clock.stage("resize", tuple(triple for triple, _ in group)):
                found = locate_group(group)
        except (Exception, SystemExit) as error:
            if not is_loss(error):
                raise
            if len(group) == 1:
                self._lost.method(group[0][0], work.batch, error)
            else:
                # One of them: the others are not lost with it.
                for one in group:
                    yield from self._scored(work, [one], boxes, masked)
            return
        histograms = self._histograms(work, group, found)
        for (triple, drawn), maps, histogram in zip(group, found, histograms, strict=True):
            if boxes is not None:
                boxes.add(triple, maps.levels)
            column = {"degenerate": maps.degenerate, "peak": maps.levels.amax((1, 2))}
            if not self._scoring.measures_only:
                column |= histogram | self._own_columns(work, triple, drawn, maps)
                masked.add(triple, drawn)
            if self._scoring.measures:
                with self.clock.stage("measures", triple):
                    column |= self._measuring.columns(work, maps, triple)
            yield triple, column

    def _histograms(self, work: BatchWork, group: Sequence[Drawn], found: list[Located]) -> list[dict[str, Tensor]]:
        if work.masks is None or self._scoring.measures_only:
            return [{} for _ in found]
        with self.clock.stage("pixels", tuple(triple for triple, _ in group)):
            made = histograms_of(found, work.masks, self.reading.protocol.tau_grid)
        return [{"pixel_histogram": one} for one in made]

    def _own_columns(self, work: BatchWork, triple: Triple, drawn: ScoreMap, maps: Located) -> dict[str, Tensor]:
        """The engine's own scores of maps beside boxes, histograms and masked scores."""
        protocol, column = self.reading.protocol, dict[str, Tensor]()
        if protocol.loc_reference == "percentile":
            column["reference"] = reference_levels(maps.levels, protocol)
        if work.parts is not None:
            with self.clock.stage("pixels", triple):
                column["evidence_precision"] = evidence_precision(maps.up.clamp_min(0), work.parts)
        if work.y is not None:
            column["y"] = work.y
        stored = drawn.stored
        if stored is not None and stored[0].nbytes <= self._scoring.map_bytes:
            column["map"] = stored
        return column

    def finish(self, scores: BatchScores) -> Rows:
        """The columns of a batch on the host, without what was lost."""
        out: Rows = {}
        ids = scores.batch.image_ids
        copied: dict[Triple | None, Columns] = {}
        for (triple, name), values in scores.columns.wait().items():
            copied.setdefault(triple, {})[name] = values.numpy()
        shared = scores.shared | copied.pop(None, {})
        for triple, columns in copied.items():
            assert triple is not None
            if scores.boxes is not None:
                columns |= scores.boxes.finish(triple, columns)
                columns = {name: values for name, values in columns.items() if name not in DEVICE_ONLY}
            columns = shared | columns
            self._lost.check(triple, columns, ids)
            out[triple] = columns
        dead = self._lost.columns
        return {
            triple: {name: value for name, value in columns.items() if name not in dead}
            for triple, columns in out.items()
            if not self._lost.has(triple)
        }

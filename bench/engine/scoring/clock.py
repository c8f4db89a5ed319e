"""Stage timing of the one pass, without stalling the device."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import torch

from ....baselines.cams import CAMS
from ....baselines.contracts import HEADS
from ....results.records.timings import BackboneTiming, StageTiming, TripleTiming
from ....triple import Triple

STAGES = ("load", "forward", "heads", "maps", "resize", "boxes", "pixels", "fidelity", "measures")
Part = str | Triple | None


def weights_of(triple: Triple) -> str:
    """The part that channel weights are timed as which several heads of a branch share."""
    return f"{triple.cam}/{HEADS.get(triple.head).branch}"


@dataclass
class Sample:
    """Milliseconds of one batch or shard by (stage, part).

    A part is a branch's name, what ``weights_of`` names, a triple, or None (shared by all).
    """

    images: int = 0
    spent: dict[tuple[str, Part], float] = field(default_factory=lambda: defaultdict(float))

    def stages(self) -> dict[str, float]:
        """Milliseconds per stage, all parts together."""
        total: dict[str, float] = defaultdict(float)
        for (stage, _), milliseconds in self.spent.items():
            total[stage] += milliseconds
        return dict(total)

    def alone(self, triple: Triple) -> float:
        """Milliseconds of one triple alone: the shared stages, its branch's head, and its own parts."""
        parts = (None, HEADS.get(triple.head).branch, weights_of(triple), triple)
        return sum(ms for (_, part), ms in self.spent.items() if part in parts)

    def map_alone(self, triple: Triple) -> float:
        """Milliseconds of one triple's map: its method, and the forward and head gradient that it needs."""
        needs = CAMS.get(triple.cam).needs
        parts: list[tuple[str, Part]] = [("maps", triple), ("maps", weights_of(triple))]
        if needs:
            parts.append(("forward", None))
        if "gradients" in needs:
            parts.append(("heads", HEADS.get(triple.head).branch))
        return sum(self.spent.get(part, 0.0) for part in parts)


class StageClock:
    """Milliseconds per stage. On CUDA by events, read in ``flush`` after one synchronisation.

    ``boxes`` is CPU time of the worker threads, as it runs beside the other stages; all others are wall time.

    Attributes:
        aside: Milliseconds so far that no stage is to count: programs were made of a network's forward.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._events: list[tuple[str, tuple[Part, ...], torch.cuda.Event, torch.cuda.Event, float]] = []
        self.aside: Callable[[], float] = lambda: 0.0
        self._sample = Sample()
        self.last = "load"

    @contextmanager
    def stage(self, name: str, part: Part | tuple[Triple, ...] = None) -> Iterator[None]:
        """Time the enclosed work under ``name``; a stage may be entered many times in a batch. Triples share it."""
        parts: tuple[Part, ...] = part if isinstance(part, tuple) else (part,)
        self.last, aside = name, self.aside()
        if self._cuda and name != "load":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            try:
                yield
            finally:
                end.record()
                self._events.append((name, parts, begin, end, self.aside() - aside))
            return
        start = time.perf_counter()
        try:
            yield
        finally:
            self._share(name, parts, 1e3 * (time.perf_counter() - start) - (self.aside() - aside))

    def _share(self, name: str, parts: tuple[Part, ...], milliseconds: float) -> None:
        for part in parts:
            self._sample.spent[name, part] += milliseconds / len(parts)

    def add(self, name: str, part: Part, milliseconds: float) -> None:
        """Add time that was measured elsewhere (worker threads)."""
        self._sample.spent[name, part] += milliseconds

    def count(self, images: int) -> None:
        """``images`` more were scored since the last flush."""
        self._sample.images += images

    def flush(self) -> Sample:
        """What was spent since the last flush."""
        if self._events:
            torch.cuda.synchronize()
            for name, parts, begin, end, aside in self._events:
                self._share(name, parts, max(0.0, begin.elapsed_time(end) - aside))
            self._events.clear()
        done, self._sample = self._sample, Sample()
        return done


def backbone_timing(
    samples: Sequence[Sample], per: Literal["batch", "shard"], shared: BackboneTiming
) -> BackboneTiming:
    """``shared`` (device, sizes, rate) with the stages' medians and the price of all maps in plain forwards.

    A plain forward is the stage ``forward``: transfer, normalisation, features and softmax logits, without autograd.
    """
    samples = [s for s in samples if s.images]
    if not samples:
        return shared
    by_stage = {name: [s.stages().get(name, 0.0) / s.images for s in samples] for name in STAGES}
    stages = {name: StageTiming.of(values, per) for name, values in by_stage.items() if any(values)}
    forwards = [
        (stages_of["forward"] + stages_of.get("heads", 0.0) + stages_of.get("maps", 0.0)) / stages_of["forward"]
        for stages_of in (s.stages() for s in samples)
    ]
    return shared.model_copy(
        update={
            "stages": stages,
            "forward_ms": stages["forward"].median_ms,
            "map_forwards": sorted(forwards)[len(forwards) // 2],
        }
    )


def triple_timings(samples: Sequence[Sample], triples: Sequence[Triple]) -> dict[str, TripleTiming]:
    """Cost of each triple alone, from the parts of a shared pass: median over samples, ms an image."""
    samples = [s for s in samples if s.images]
    found: dict[str, TripleTiming] = {}
    for triple in triples if samples else ():
        cost = StageTiming.of([s.alone(triple) / s.images for s in samples])
        forward = StageTiming.of([s.stages()["forward"] / s.images for s in samples])
        maps = [s.map_alone(triple) / s.stages()["forward"] for s in samples]
        found[str(triple)] = TripleTiming(
            ms_per_image=cost.median_ms,
            iqr_ms=cost.iqr_ms,
            images_per_s=1e3 / cost.median_ms,
            forwards=cost.median_ms / forward.median_ms,
            map_forwards=median(maps),
        )
    return found

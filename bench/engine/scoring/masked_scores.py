"""Class scores of images under the protocol's fidelity fields: Y of an image, O of the same image behind its map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from ....baselines.cams import copies_in
from ....baselines.contracts import Backbone
from ....metrics.functional.fidelity import image_masks
from ....protocol import Protocol
from ....triple import Triple
from .clock import StageClock
from .reading import Reading, ScoreMap


class Fidelity:
    """Class scores Y and O of one batch (SEMANTICS: Average Drop).

    Args:
        network: Frozen network with the branch that the protocol's fidelity score reads.
        protocol: Score, image space, kernel and normalisation of the mask.
        forward: Target features (M,N,P,Q) of normalised images (M,3,R,R), without autograd.
        pixels: float32 (B,3,R,R) in [0, 1].
        target: Classes (B,) int64 that are scored.
    """

    def __init__(
        self,
        network: Backbone,
        protocol: Protocol,
        forward: Callable[[Tensor], Tensor],
        pixels: Tensor,
        target: Tensor,
    ) -> None:
        self._network, self._protocol, self._forward = network, protocol, forward
        self._pixels, self._target = pixels, target

    def maps_in(self, chunk_bytes: int) -> int:
        """Maps whose masked images of the whole batch a chunk holds, at least one."""
        return copies_in(chunk_bytes, self._pixels)

    @cached_property
    def _normalised(self) -> Tensor:
        return self._network.normalise(self._pixels)

    def score_images(self, images: Tensor, index: Tensor) -> Tensor:
        """Score (M,) of images (M,3,R,R) in [0, 1] for the targets of the batch's images ``index`` (M,)."""
        return self.score(self._forward(self._network.normalise(images)), target=self._target[index])

    def score(self, features: Tensor, logits: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """Score (B,) float64 of the target class: probability, sigmoid score or raw logit, by the protocol."""
        kind = self._protocol.fidelity_score
        if kind == "sigmoid":
            logits = self._network.head("sigmoid")(features)
        elif logits is None:
            logits = self._network.head("softmax")(features)
        assert logits is not None
        scores = logits.double() if kind == "logit" else self._network.scores(logits, kind)
        return scores.gather(1, (self._target if target is None else target)[:, None])[:, 0]

    def masked_score(self, positive: Tensor, finished: bool) -> Tensor:
        """Score O (B,) of the masked images; ``positive`` is the low-resolution map (B,P,Q) after ReLU."""
        return self.masked_scores([(positive, finished)])[0]

    def masked_scores(self, maps: Sequence[tuple[Tensor, bool]]) -> list[Tensor]:
        """``masked_score`` of several maps of the batch, by one forward of all masked images."""
        protocol, network = self._protocol, self._network
        mask = torch.cat([self._masks(list(alike)) for _, alike in groupby(maps, _form)])
        # Beside every map's masks the same images.
        mask = mask.view(len(maps), -1, 1, *mask.shape[1:])
        if protocol.fidelity_space == "pixels":
            masked = network.normalise((self._pixels * mask).flatten(0, 1))
        else:
            masked = (self._normalised * mask).flatten(0, 1)
        scores = self.score(self._forward(masked), target=self._target.repeat(len(maps)))
        return list(scores.chunk(len(maps)))

    def _masks(self, maps: Sequence[tuple[Tensor, bool]]) -> Tensor:
        """Masks float32 (N·B,R,R) of N maps of one form, in one call."""
        positive, finished = torch.cat([positive for positive, _ in maps]), maps[0][1]
        rule = "no" if finished else self._protocol.fidelity_min_max
        return image_masks(positive, self._protocol.size, self._protocol.fidelity_kernel, rule)


def _form(drawn: tuple[Tensor, bool]) -> tuple[torch.Size, torch.dtype, bool]:
    """Maps whose form is equal are made masks of in one call."""
    positive, finished = drawn
    return positive.shape, positive.dtype, finished


class MaskedScores:
    """O of all maps of a batch: each by a forward of its own, or as many together as a chunk holds.

    Args:
        fidelity: Scores them; None where no network stands behind the maps.
        reading: Its ``fill_chunks`` says whether chunks are filled, its ``chunk_bytes`` what one holds.
        clock: Takes the time.
    """

    def __init__(self, fidelity: Fidelity | None, reading: Reading, clock: StageClock) -> None:
        self._fidelity, self._clock = fidelity, clock
        self._most = fidelity.maps_in(reading.chunk_bytes) if fidelity is not None and reading.fill_chunks else 1
        self._waiting: dict[Triple, tuple[Tensor, bool]] = {}
        self._scores: dict[Triple, Tensor] = {}

    def add(self, triple: Triple, drawn: ScoreMap) -> None:
        """The score map of a triple."""
        self._waiting[triple] = drawn.positive, drawn.finished
        if len(self._waiting) == self._most:
            self._score()

    def all(self) -> dict[Triple, Tensor]:
        """O (B,) float64 of every triple that was added."""
        self._score()
        return self._scores

    def _score(self) -> None:
        if self._fidelity is not None and self._waiting:
            with self._clock.stage("fidelity", tuple(self._waiting)):
                found = self._fidelity.masked_scores(list(self._waiting.values()))
            self._scores |= dict(zip(self._waiting, found, strict=True))
        self._waiting = {}

"""Class scores of images under the protocol's fidelity fields: Y of an image, O of the same image behind its map."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from ....baselines.contracts import Backbone
from ....metrics.functional.fidelity import image_masks
from ....protocol import Protocol


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
        protocol, network = self._protocol, self._network
        mask = image_masks(
            positive, protocol.size, protocol.fidelity_kernel, "no" if finished else protocol.fidelity_min_max
        )[:, None]
        if protocol.fidelity_space == "pixels":
            masked = network.normalise(self._pixels * mask)
        else:
            masked = self._normalised * mask
        return self.score(self._forward(masked))

"""What a CAM method may ask for, computed on first use and shared by all methods of a batch and branch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ...hashing import id_seeds
from ...torch_state import spared
from ..contracts import Activation, Backbone, Branch, Head
from ..heads.context import ContextHead

CHUNK_BYTES = 32 * 2**20
"""Bytes of modified images (or features) that go through the network at a time, where nobody says otherwise."""
_BRANCHES: tuple[Branch, ...] = ("softmax", "sigmoid", "semantic")


_OURS = f"{__package__.partition('.')[0]}."


class Evidence:
    """Lazy evidence of one batch for one branch's head.

    Args:
        features: Target feature map (B,N,P,Q), detached; with the rows in front that the head's context takes.
        head: The branch's head.
        target: Class index (B,), int64, whose logit is explained.
        image_ids: Ids of the images (seeds of random methods; independent of the batch's composition).
        images: Normalised images (B,3,R,R), or None where the caller holds features only.
        backbone: The network, for methods that re-score images.
        forward: Target features of normalised images without autograd, as the caller's own forward makes them (memory
            format, autocast); the backbone's where None.
        score_channels: Channels that re-scoring methods score, the most active ones of each image; all where None.

    Attributes:
        chunk_bytes: Bytes of modified images (or features) that a re-scoring method may hold at a time.
    """

    def __init__(
        self,
        features: Tensor,
        head: Head,
        target: Tensor,
        image_ids: Sequence[str] = (),
        images: Tensor | None = None,
        backbone: Backbone | None = None,
        forward: Callable[[Tensor], Tensor] | None = None,
        score_channels: int | None = None,
    ) -> None:
        # Maps reduce over cells; a channels-last map would be strided in every one of those reductions.
        rows = head.context_rows
        self.features = features.detach()[:, :, rows:].contiguous()
        self.head, self.target, self._given = head, target, head
        if rows:
            self.head = ContextHead(head, features.detach()[:, :, :rows], self.features.shape[-2])
        self.image_ids = tuple(image_ids)
        self._images, self._backbone, self._forward = images, backbone, forward
        self._score_channels = score_channels
        self._kept: dict[Callable[[Evidence], Tensor], Tensor] = {}
        self.chunk_bytes = CHUNK_BYTES

    def copies(self, batch: Tensor) -> int:
        """Copies of a whole batch (B,…) that one chunk may hold; never less than one of each image."""
        return copies_in(self.chunk_bytes, batch)

    def keep(self, method: Callable[[Evidence], Tensor]) -> None:
        """Compute what a method's function makes of this, and keep it for ``made_by``, until ``forget``."""
        self._kept[method] = self._called(method)

    def forget(self, method: Callable[[Evidence], Tensor]) -> None:
        """Keep what the function made no longer."""
        self._kept.pop(method, None)

    def made_by(self, method: Callable[[Evidence], Tensor]) -> Tensor:
        """What a method's function makes of this: what is kept of it, else computed."""
        kept = self._kept.get(method)
        return self._called(method) if kept is None else kept

    def _called(self, method: Callable[[Evidence], Tensor]) -> Tensor:
        """What a method's function makes of this; a foreign one must leave what all methods share as it is.

        Raises:
            ValueError: It changed a tensor in place, which is as it was again.
        """
        if str(getattr(method, "__module__", "")).startswith(_OURS):
            return method(self)
        shared = {name.lstrip("_"): t for name, t in self.__dict__.items() if isinstance(t, Tensor)}
        with spared(shared) as changed:
            made = method(self)
        if changed:
            raise ValueError(
                f"it changes e.{changed[0]} in place, which all methods share: e.{changed[0]}.clone() first"
            )
        return made

    @cached_property
    def feature_sums(self) -> Tensor:
        """Sum over the cells of each channel, (B,N,1,1)."""
        return self.features.sum((-2, -1), keepdim=True)

    @cached_property
    def logits(self) -> Tensor:
        """Logits (B,C) of the head, without graph."""
        with torch.no_grad():
            logits: Tensor = self.head(self.features)
        return logits

    @cached_property
    def gradients(self) -> Tensor:
        """G = ∂ logit[target] / ∂ features, (B,N,P,Q), without graph. Closed form w/(P·Q) on a GAP + linear head."""
        if self.constant_gradient is not None:
            return self.constant_gradient
        with torch.enable_grad():
            leaf = self.features.clone().requires_grad_()
            logits = self.head(leaf)
            self.__dict__.setdefault("logits", logits.detach())
            chosen = logits.gather(1, self.target[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, leaf)
        return gradient

    @cached_property
    def constant_gradient(self) -> Tensor | None:
        """G (B,N,P,Q) where it is the same at any features: w/(P·Q) on a GAP + linear head; else None."""
        weights = self.head.class_weights(self.target)
        if weights is None or self.head.kind != "gap_linear":
            return None
        area = self.features.shape[-2] * self.features.shape[-1]
        return (weights.detach().to(self.features.dtype) / area)[:, :, None, None].expand_as(self.features)

    def head_gradient(self, score: Callable[[Tensor], Tensor] | None = None, features: Tensor | None = None) -> Tensor:
        """Gradient (B,N,P,Q), without graph, of another score, or at other features, than ``gradients``.

        Args:
            score: Differentiable function of the logits (B,C) to a score (B,); the target's logit where None.
            features: Where the gradient is taken, (B,N,P,Q); the batch's own features where None.
        """
        with torch.enable_grad():
            leaf = (self.features if features is None else features).detach().clone().requires_grad_()
            logits = self.head(leaf)
            chosen = logits.gather(1, self.target[:, None])[:, 0] if score is None else score(logits)
            (gradient,) = torch.autograd.grad(chosen.sum(), leaf)
        # Features of other images bring their own context; the map is what follows it.
        return gradient[:, :, leaf.shape[-2] - self.features.shape[-2] :]

    @cached_property
    def class_weights(self) -> Tensor:
        """Linear weights (B,N,1,1) of the target class; TypeError unless the head is pooling + linear."""
        weights = self.head.class_weights(self.target)
        if weights is None:
            raise TypeError(f"a {self.head.kind!r} head has no class weights; CAM needs a GAP + linear head")
        return weights.detach()[:, :, None, None]

    @property
    def channel_scores(self) -> Tensor | None:
        """What each channel adds to the target's logit, w·pooled(F), (B,N,1,1); None unless it is pooling + linear."""
        weights = self.head.class_weights(self.target)
        if weights is None:
            return None
        return (weights.detach().to(self.features.dtype) * self.head.pooled(self.features))[:, :, None, None]

    @property
    def images(self) -> Tensor:
        """Normalised images (B,3,R,R); RuntimeError where the caller gave none."""
        if self._images is None:
            raise RuntimeError("this evidence holds no images; declare needs={'images'} when you register the method")
        return self._images

    @cached_property
    def branch(self) -> Branch:
        """The branch whose head this is, looked up in the backbone; ``softmax`` where the caller gave no backbone."""
        heads = self._backbone.heads if self._backbone is not None else ()
        return next((b for b in _BRANCHES if b in heads and self.backbone.head(b) is self._given), "softmax")

    @property
    def activation(self) -> Activation:
        """How the branch's logits become scores; ``softmax`` where the caller gave no backbone."""
        own = self._backbone.activation if self._backbone is not None else "softmax"
        return {"softmax": own, "sigmoid": "sigmoid", "semantic": "softmax"}[self.branch]

    @property
    def whole_head(self) -> Head:
        """The head as given: a function of all that ``backbone.features`` returns, context included."""
        return self._given

    def at(self, images: Tensor) -> Evidence:
        """The same evidence with other normalised images (B,3,R,R); what was computed of features is computed anew."""
        other = copy.copy(self)
        other._images, other._kept = images, {}
        return other

    @property
    def backbone(self) -> Backbone:
        """The network; RuntimeError where the caller gave none."""
        if self._backbone is None:
            raise RuntimeError("this evidence holds no backbone; declare needs={'rescoring'}")
        return self._backbone

    @cached_property
    def attention(self) -> Tensor:
        """Attention (L,B,T,T) of every layer, mean of its heads, by one more forward on the explicit path.

        Queries in rows; T counts the network's ``prefix_tokens`` and P·Q patches. TypeError where it has none.
        """
        return self.backbone.attention(self.images)

    @cached_property
    def seeds(self) -> Tensor:
        """Seeds (B,), int64 in [0, 2^62), each a hash of the image's id alone."""
        return id_seeds(self.image_ids, self.features.device)

    @cached_property
    def scored_channels(self) -> Tensor:
        """Channels (B,K) that re-scoring methods score, ascending: all N, or the ``score_channels`` most active."""
        batch, channels = self.features.shape[:2]
        if self._score_channels is None or self._score_channels >= channels:
            return torch.arange(channels, device=self.features.device).expand(batch, -1)
        activity = self.features.mean((-2, -1)).double()
        # Stable: equal channels are taken in their order, on every device.
        most = activity.argsort(dim=1, descending=True, stable=True)[:, : self._score_channels]
        return most.sort(dim=1).values

    def over_all_channels(self, values: Tensor) -> Tensor:
        """Weights (B,N,1,1) of values (B,K) of the scored channels; zero for the others."""
        whole = values.new_zeros(self.features.shape[:2])
        return whole.scatter(1, self.scored_channels, values)[:, :, None, None]

    def features_of(self, images: Tensor) -> Tensor:
        """Target features of other normalised images (M,3,R,R), without graph, as the main forward makes them."""
        with torch.no_grad():
            return (self.backbone.features if self._forward is None else self._forward)(images)

    def score_features(self, features: Tensor) -> Tensor:
        """Target logits (B·k,) of modified features (B·k,N,P,Q), k copies of each image consecutive."""
        with torch.no_grad():
            logits: Tensor = self.head(features)
        return logits.gather(1, self._repeat(len(features))[:, None])[:, 0]

    def score_images(self, images: Tensor) -> Tensor:
        """Target logits (B·k,) of modified normalised images (B·k,3,R,R), k copies of each image consecutive."""
        return self._image_logits(images).gather(1, self._repeat(len(images))[:, None])[:, 0]

    def activated_scores(self, images: Tensor) -> Tensor:
        """Activated target scores (B·k,), float64, of modified normalised images, k copies of each image consecutive.

        The softmax probability on the softmax branch, the sigmoid of the logit on the sigmoid branch and of networks
        whose own scores are sigmoids (binary, multi-label). float64, so that a confident network's changes are not
        rounded to 0 or 1.
        """
        return self._activated(self._image_logits(images))

    def activated_feature_scores(self, features: Tensor) -> Tensor:
        """As ``activated_scores``, of modified features (B·k,N,P,Q), through the head alone."""
        with torch.no_grad():
            return self._activated(self.head(features))

    def _activated(self, logits: Tensor) -> Tensor:
        sigmoid = self.activation == "sigmoid"
        scores = logits.double().sigmoid() if sigmoid else logits.double().softmax(1)
        return scores.gather(1, self._repeat(len(logits))[:, None])[:, 0]

    def _image_logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.head(self.features_of(images))
        return logits

    def _repeat(self, count: int) -> Tensor:
        copies, rest = divmod(count, len(self.target))
        if rest:
            raise ValueError(f"expected a multiple of {len(self.target)} images, got {count}")
        return self.target.repeat_interleave(copies)


def copies_in(chunk_bytes: int, batch: Tensor) -> int:
    """Copies of a whole batch (B,…) in so many bytes, at least one."""
    return max(1, chunk_bytes // max(1, batch.numel() * batch.element_size()))

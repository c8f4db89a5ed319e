"""Scores of masked images, streamed: a chunk of masks at a time, never all masks of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..evidence import Evidence


def channel_masks(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (B,c,H,W) in [0, 1]: channels (B,c,P,Q) resized bilinearly, then min-max; 0 where a channel is constant."""
    masks = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
    low, high = masks.amin((-2, -1), keepdim=True), masks.amax((-2, -1), keepdim=True)
    # Constant by the unresized channel: the resize leaves rounding noise, which min-max would blow up to a mask.
    varies = features.amax((-2, -1), keepdim=True) > features.amin((-2, -1), keepdim=True)
    span = torch.where(varies & (high > low), high - low, torch.inf)
    return masks.sub_(low).div_(span)


def channel_weights(e: Evidence, samples: int, change: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
    """Softmax over channels of the target's logit on images masked by each, averaged over samples; (B,N,1,1).

    The weights of Score-CAM and its kin. Channels that the protocol does not score weigh nothing.

    Args:
        e: Evidence with images and backbone.
        samples: Forwards of each mask.
        change: ``(masks (B,c,H,W), their channels (B,c), sample) -> masks``.
    """
    images, scored = e.images, e.scored_channels
    batch, height, width = len(images), *images.shape[-2:]
    step, chunks = e.copies(images), []
    for start in range(0, scored.shape[1], step):
        channels = scored[:, start : start + step]
        chosen = e.features.take_along_dim(channels[:, :, None, None], 1)
        masks = channel_masks(chosen, (height, width)).to(images.dtype)
        total = torch.zeros((), device=images.device)
        for sample in range(samples):
            masked = images[:, None] * change(masks, channels, sample)[:, :, None]
            total = total + e.score_images(masked.flatten(0, 1)).view(batch, -1)
        chunks.append(total / samples)
    return e.over_all_channels(torch.cat(chunks, 1).softmax(1))


def bank_scores(e: Evidence, masks: Tensor) -> Tensor:
    """Activated target scores (B,k), float64, of every image under every mask of (k,H,W)."""
    images = e.images
    masked = images[:, None] * masks.to(images.dtype)[None, :, None]
    return e.activated_scores(masked.flatten(0, 1)).view(len(images), -1)

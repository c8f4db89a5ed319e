"""Extremal Perturbations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..evidence import Evidence
from ..method import register_cam

CACHE = 2**20
"""Bytes of one array of the mask's smooth maximum: small enough for a core's second-level cache."""


@dataclass(frozen=True)
class AreaSchedule:
    """The schedule of TorchRay, the authors' code; lengths in pixels.

    Attributes:
        area: Share of the image that the mask keeps. steps: Gradient steps. rate, momentum: Of SGD; the dampening is
            the momentum. penalty, growth: Weight of the area constraint, and its factor a step.
        cell, width: Spacing of the mask's parameters, and width σ of the kernel between them. coldness: 1/T of the
            smooth maximum. levels, blur: Levels of the pyramid, and the Gaussian's σ at the strongest.
    """

    area: float = 0.1
    steps: int = 800
    rate: float = 0.01
    momentum: float = 0.9
    penalty: float = 300.0
    growth: float = 1.0035
    cell: int = 7
    width: float = 21.0
    coldness: float = 20.0
    levels: int = 8
    blur: float = 20.0


SCHEDULE = AreaSchedule()


@register_cam(
    "extremal",
    title="Extremal Perturbations",
    source=f"Fong et al., ICCV 2019; preservation game, area {SCHEDULE.area:g}, {SCHEDULE.steps} steps, the "
    "schedule of the authors' code (TorchRay)",
    needs=("images", "input_gradients"),
    returns="map",
    cost=f"{SCHEDULE.steps} forwards + {SCHEDULE.steps} backwards",
    expensive=True,
)
def extremal(e: Evidence) -> Tensor:
    """M = argmax over smooth masks m of y(m ⊗ x) − λ·‖sort(m) − r_a‖², y the head's target logit; (B,R,R) in [0, 1].

    m ⊗ x blurs the image where m is small. r_a is sorted too: zeros, and ones for the share a of the pixels. λ grows
    by 0.35 % a step. Every second step sees the mirrored image. Images are optimised side by side, independently.
    """
    images, height = e.images.detach(), e.images.shape[-2]
    group = max(1, 8 * e.chunk_bytes // (_window(SCHEDULE) ** 2 * height * images.shape[-1] * images.element_size()))
    chunks = [_optimise(e, slice(start, start + group)) for start in range(0, len(images), group)]
    return torch.cat(chunks)


def _optimise(e: Evidence, rows: slice) -> Tensor:
    schedule, images, target = SCHEDULE, e.images[rows].detach(), e.target[rows, None]
    size = (images.shape[-2], images.shape[-1])
    blurred = pyramid(images, schedule)
    pixels = size[0] * size[1]
    ideal = torch.zeros(pixels, dtype=images.dtype, device=images.device)
    ideal[int(pixels * (1 - schedule.area)) :] = 1
    cells = [-(-n // schedule.cell) for n in size]
    with torch.enable_grad():
        parameters = torch.ones(len(images), 1, *cells, dtype=images.dtype, device=images.device, requires_grad=True)
        optimiser = torch.optim.SGD(
            [parameters], lr=schedule.rate, momentum=schedule.momentum, dampening=schedule.momentum
        )
        for step in range(schedule.steps):
            mask = smooth_mask(parameters, size, schedule)
            seen = perturb(blurred, mask)
            logits = e.whole_head(e.backbone.features(seen.flip(-1) if step % 2 == 0 else seen))
            reward = logits.gather(1, target)[:, 0]
            excess = (mask.flatten(1).sort(dim=1).values - ideal).square().mean(1)
            loss = (schedule.penalty * schedule.growth**step * excess - reward).sum()
            # Not backward(): the network's own parameters must never collect gradients.
            (parameters.grad,) = torch.autograd.grad(loss, [parameters])
            optimiser.step()
            with torch.no_grad():
                parameters.clamp_(0, 1)
    return smooth_mask(parameters.detach(), size, schedule)


def smooth_mask(parameters: Tensor, size: tuple[int, int], schedule: AreaSchedule) -> Tensor:
    """Mask (B,H,W) in [0, 1]: smooth maximum over cells c of k(|u − c|/σ)·p_c, k(z) = exp(−2·relu(z − ½)²).

    The smooth maximum of f is Σ f·exp(f/T) / Σ exp(f/T). ``parameters`` are (B,1,⌈H/cell⌉,⌈W/cell⌉).
    """
    cell, window = schedule.cell, _window(schedule)
    rows, columns = parameters.shape[-2:]
    near = F.unfold(parameters, window, padding=window // 2)
    offset = torch.arange(window, dtype=parameters.dtype, device=parameters.device) - window // 2
    inside = torch.arange(cell, dtype=parameters.dtype, device=parameters.device) - (cell - 1) / 2
    apart = (inside - cell * offset[:, None]).square()
    distance = (apart[:, None, :, None] + apart[None, :, None, :]).sqrt().flatten(2).flatten(0, 1)
    kernel = torch.exp(-2 * (distance / schedule.width - 0.5).clamp_min(0).square())
    pooled: Tensor = _SmoothMaximum.apply(near, kernel, schedule.coldness)
    full = pooled.view(-1, cell, cell, rows, columns).permute(0, 3, 1, 4, 2)
    return full.reshape(-1, rows * cell, columns * cell)[:, : size[0], : size[1]].clamp(0, 1)


class _SmoothMaximum(torch.autograd.Function):
    """Σ_k f·exp(c·f) / Σ_k exp(c·f), f = near (B,K,L) · kernel (K,Q), as (B,Q,L); a few k at a time, kept in cache.

    Its gradient by f is w·(1 + c·(f − maximum)), w the share exp(c·f)/Σ. Values lie in [0, 1], c·f within float32.
    """

    @staticmethod
    def forward(ctx: Any, near: Tensor, kernel: Tensor, coldness: float) -> Tensor:
        total = near.new_zeros(len(near), kernel.shape[1], near.shape[2])
        weighted = torch.zeros_like(total)
        for some in _pieces(total, len(kernel)):
            values = near[:, some, None] * kernel[some, :, None]
            raised = (coldness * values).exp_()
            total += raised.sum(1)
            weighted += values.mul_(raised).sum(1)
        pooled = weighted.div_(total)
        ctx.save_for_backward(near, kernel, total, pooled)
        ctx.coldness = coldness
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        near, kernel, total, pooled = ctx.saved_tensors
        slope = upstream / total
        offset, slope = slope * (1 - ctx.coldness * pooled), slope * ctx.coldness
        gradient = torch.empty_like(near)
        for some in _pieces(total, len(kernel)):
            values = near[:, some, None] * kernel[some, :, None]
            raised = (ctx.coldness * values).exp_()
            each = values.mul_(slope[:, None]).add_(offset[:, None]).mul_(raised)
            gradient[:, some] = each.mul_(kernel[some, :, None]).sum(2)
        return gradient, None, None


def _pieces(total: Tensor, count: int) -> list[slice]:
    """Slices of ``count``: as many copies of one image's ``total`` (B,Q,L) each as a core's cache holds, at least one.

    By one image, so that its sums are rounded alike in every batch: the optimisation makes much of a last bit.
    """
    step = max(1, CACHE // (total[0].numel() * total.element_size()))
    return [slice(start, start + step) for start in range(0, count, step)]


def pyramid(images: Tensor, schedule: AreaSchedule) -> Tensor:
    """Images (B,L,3,H,W) from the strongest Gaussian blur to none, σ = blur·(1 − l/(L − 1))."""
    made = []
    for level in range(schedule.levels):
        sigma = schedule.blur * (1 - level / (schedule.levels - 1))
        down, across = (_gaussian(n, sigma, images) for n in images.shape[-2:])
        made.append(down @ images @ across.mT)
    return torch.stack(made, 1)


def perturb(blurred: Tensor, mask: Tensor) -> Tensor:
    """Images (B,3,H,W) read from a pyramid (B,L,3,H,W) at the level mask·(L − 1), linear between levels."""
    last = blurred.shape[1] - 1
    level = mask * last
    lower = level.detach().floor().clamp_max(last - 1)
    index = lower.long()[:, None, None].expand(-1, 1, blurred.shape[2], -1, -1)
    share = (level - lower)[:, None]
    return (1 - share) * blurred.gather(1, index)[:, 0] + share * blurred.gather(1, index + 1)[:, 0]


def _window(schedule: AreaSchedule) -> int:
    """Side, in cells, of the neighbourhood that a pixel reads."""
    return 2 * (1 + math.ceil(schedule.width / schedule.cell)) + 1


def _gaussian(length: int, sigma: float, like: Tensor) -> Tensor:
    """Matrix (n,n) that blurs an axis; rows sum to one, so that the border is not darkened."""
    place = torch.arange(length, dtype=like.dtype, device=like.device)
    if sigma == 0:
        return torch.eye(length, dtype=like.dtype, device=like.device)
    weights = torch.exp(-(place - place[:, None]).square() / (2 * sigma**2))
    return weights / weights.sum(1, keepdim=True)

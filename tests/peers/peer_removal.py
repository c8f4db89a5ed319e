"""ROAD by pytorch-grad-cam, its imputation and the similarity of maps by Quantus, beside ours; on the maps of Grad-CAM.

Noise is left out of both sides: two draws of it agree only on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from peer_fidelity import FidelityRow
from peer_methods import our_maps
from torch import Tensor

from cambench.baselines.contracts import Backbone
from cambench.metrics.functional.imputation import impute
from cambench.metrics.functional.maps import min_max, resize_maps
from cambench.metrics.functional.removal import removed, road_curves
from cambench.metrics.functional.similarity import rank_correlation, structural_similarity
from cambench.protocol import PAPER

SAME = 0.5
"""Percent in which two scores may differ: pixels of equal value, and steps of the imputation."""
REMARKS = {
    "ROAD": "theirs is the change f(x_p) − f(x), here with f(x) added; pixels of equal value (zeros, after ReLU) go "
    "all at once, here in raster order; one sparse solve an image, ours a batch of multigrid steps",
    "imputation": "largest difference in units of the normalised image; theirs is the exact solution",
    "SSIM": "scikit-image's uniform window of 7 pixels and the two maps' own range; here, as published, a Gaussian of "
    "11 pixels and the range 1",
    "Spearman": "",
}
"""Score -> what there is to know. Quantus's own ROAD counts correct predictions over images, as the paper does; its
MPRT compares after every single layer, and its Random Logit draws one class for a whole batch."""


def maps_of(net: Backbone, images: Tensor, classes: Sequence[int]) -> Tensor:
    """Grad-CAM's maps (B,R,R) in [0, 1] at the images' size, float64."""
    return min_max(resize_maps(our_maps("gradcam")(net, images, classes), images.shape[-1], "bicubic"))[0]


def our_road(net: Backbone, images: Tensor, classes: Sequence[int], maps: Tensor) -> dict[str, Tensor]:
    """MoRF, LeRF and both combined (B,), without noise."""
    index = torch.tensor(classes)[:, None]

    @torch.no_grad()
    def score(x: Tensor) -> Tensor:
        return net(x).softmax(1).gather(1, index)[:, 0]

    nothing = torch.zeros_like(images)
    morf, lerf = (road_curves(score, images, m, PAPER.road_percents, nothing).mean(1) for m in (maps, -maps))
    return {"MoRF": morf, "LeRF": lerf, "combined": (lerf - morf) / 2}


def their_road(peer: Backbone, images: Tensor, classes: Sequence[int], maps: Tensor) -> dict[str, Tensor]:
    """The same of pytorch-grad-cam: its metrics with its imputer, whose noise is zero."""
    from pytorch_grad_cam.metrics import perturbation_confidence as package
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    targets = [ClassifierOutputSoftmaxTarget(c) for c in classes]
    with torch.no_grad():
        before = peer(images).softmax(1).gather(1, torch.tensor(classes)[:, None])[:, 0].double()

    def average(removal: Any) -> Tensor:
        def metric(percentile: float) -> Any:
            return package.PerturbationConfidenceMetric(removal(percentile, NoisyLinearImputer(noise=0)))

        averager = package.AveragerAcrossThresholds(metric)
        return before + torch.from_numpy(averager(images, maps.numpy(), targets, peer)).double()

    morf, lerf = average(package.RemoveMostRelevantFirst), average(package.RemoveLeastRelevantFirst)
    return {"MoRF": morf, "LeRF": lerf, "combined": (lerf - morf) / 2}


def imputation_difference(images: Tensor, maps: Tensor) -> float:
    """Largest difference of our imputation of half of the pixels and Quantus's."""
    from quantus.functions.perturb_func import noisy_linear_imputation

    missing = removed(maps, 50.0)
    ours, largest = impute(images, missing), 0.0
    for image, gone, found in zip(images.numpy(), missing.numpy(), ours.numpy(), strict=True):
        theirs = noisy_linear_imputation(image, np.flatnonzero(gone), noise=0.0)
        largest = max(largest, float(np.abs(theirs.reshape(image.shape) - found).max()))
    return largest


def removal_rows(net: Backbone, peer: Backbone, images: Tensor, classes: Sequence[int]) -> list[FidelityRow]:
    """ROAD of pytorch-grad-cam, and Quantus's functions, beside ours, in percent; one image, as they take seconds."""
    from quantus.functions import similarity_func

    images, classes = images[:1], list(classes)[:1]
    row = partial(FidelityRow, network=net.name)
    maps = maps_of(net, images, classes)
    ours, theirs = our_road(net, images, classes, maps), their_road(peer, images, classes, maps)
    rows = [
        row(f"ROAD {name}", "pytorch-grad-cam", theirs=100 * float(theirs[name].mean()),
            ours=100 * float(ours[name].mean()), remark=REMARKS["ROAD"])
        for name in ours
    ]  # fmt: skip
    rows.append(
        row("imputation", "Quantus", theirs=0.0, ours=imputation_difference(images, maps), remark=REMARKS["imputation"])
    )
    other = maps_of(net, images, [(c + 1) % net.num_classes for c in classes])
    for name, call, mine in (
        ("SSIM", similarity_func.ssim, structural_similarity),
        ("Spearman", similarity_func.correlation_spearman, rank_correlation),
    ):
        pairs = zip(maps.numpy(), other.numpy(), strict=True)
        flat = name == "Spearman"
        found = [float(call(*(x.flatten() if flat else x for x in pair))) for pair in pairs]
        rows.append(
            row(name, "Quantus", theirs=100 * float(np.mean(found)), ours=100 * float(mine(maps, other).mean()),
                remark=REMARKS[name])
        )  # fmt: skip
    return rows

"""Average Drop and Increase in Confidence by the peers and by ours, on the maps of Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import HEADS, Backbone
from cambench.metrics.functional.fidelity import average_drop, increase_in_confidence
from cambench.metrics.functional.maps import min_max, resize_maps
from cambench.protocol import PROTOCOLS


@dataclass(frozen=True)
class FidelityRow:
    """A score of a peer and ours, in percent; ``explained`` where the package's remark belongs to it, or its own."""

    score: str
    package: str
    network: str
    theirs: float
    ours: float
    explained: bool = True
    remark: str = ""


def our_scores(net: Backbone, images: Tensor, classes: Sequence[int], *, logits: bool) -> tuple[Tensor, Tensor]:
    """Y and O (B,) float64 of normalised images under ``torchcam``'s rules: raw logits, or softmax probabilities."""
    protocol = PROTOCOLS.get("torchcam")
    target = torch.tensor(classes)
    with torch.no_grad():
        features = net.features(images)
        evidence = Evidence(features, net.head("softmax"), target, [str(i) for i in classes], images, net)
        low, _ = min_max(score_map(CAMS.get("gradcam"), evidence, HEADS.get("softmax"), protocol).double())
        mask = resize_maps(low, images.shape[-1], protocol.fidelity_kernel)
        scores = [net(x).double() for x in (images, images * mask.float()[:, None])]
    activated = scores if logits else [s.softmax(1) for s in scores]
    y, o = (s.gather(1, target[:, None])[:, 0] for s in activated)
    return y, o


def torch_cam_scores(peer: Backbone, images: Tensor, classes: Sequence[int]) -> dict[str, float]:
    """``avg_drop`` and ``conf_increase`` of torch-cam's ClassificationMetric with its defaults: fractions."""
    from torchcam.methods import GradCAM
    from torchcam.metrics import ClassificationMetric

    with GradCAM(peer, peer.feature_layer, input_shape=tuple(images.shape[1:])) as extractor:
        metric = ClassificationMetric(extractor)
        metric.update(images, list(classes))
        found: dict[str, float] = metric.summary()
    return found


def grad_cam_scores(peer: Backbone, images: Tensor, classes: Sequence[int], masks: Tensor) -> tuple[Any, Any]:
    """Drops and increases (B,) of pytorch-grad-cam on masks (B,H,W), softmax scores."""
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    targets = [ClassifierOutputSoftmaxTarget(c) for c in classes]
    stacked = masks[:, None].numpy()
    return DropInConfidence()(images, stacked, targets, peer), IncreaseInConfidence()(images, stacked, targets, peer)


def fidelity_rows(net: Backbone, peer: Backbone, images: Tensor, classes: Sequence[int]) -> list[FidelityRow]:
    """Both scores of both peers beside ours."""
    y, o = our_scores(net, images, classes, logits=True)
    theirs = torch_cam_scores(peer, images, classes)
    rows = [
        FidelityRow("Average Drop", "torch-cam", net.name, 100 * theirs["avg_drop"], float(average_drop(y, o))),
        FidelityRow(
            "Increase in Confidence", "torch-cam", net.name, 100 * theirs["conf_increase"],
            float(increase_in_confidence(y, o)), explained=False,
        ),
    ]  # fmt: skip
    y, o = our_scores(net, images, classes, logits=False)
    with torch.no_grad():
        evidence = Evidence(net.features(images), net.head("softmax"), torch.tensor(classes), [], images, net)
        protocol = PROTOCOLS.get("torchcam")
        low, _ = min_max(score_map(CAMS.get("gradcam"), evidence, HEADS.get("softmax"), protocol).double())
        masks = resize_maps(low, images.shape[-1], protocol.fidelity_kernel).float()
    drops, increases = grad_cam_scores(peer, images, classes, masks)
    return [
        *rows,
        FidelityRow("Average Drop", "pytorch-grad-cam", net.name, 100 * float(drops.mean()), float(average_drop(y, o))),
        FidelityRow(
            "Increase in Confidence", "pytorch-grad-cam", net.name, 100 * float(increases.mean()),
            float(increase_in_confidence(y, o)), explained=False,
        ),
    ]  # fmt: skip

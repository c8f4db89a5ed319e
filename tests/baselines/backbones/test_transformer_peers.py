"""The Grad-CAM family on ViT tokens beside pytorch-grad-cam, with the layer and the reshape that it recommends."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cambench.baselines.backbones.timm.create import create
from cambench.baselines.backbones.timm.net import TimmBackbone
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import raw_map

pytestmark = pytest.mark.slow
CLASSES = [1, 7]
METHODS = {"gradcam": "GradCAM", "hirescam": "HiResCAM", "gradcam++": "GradCAMPlusPlus", "layercam": "LayerCAM"}


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_maps_of_tokens_beside_pytorch_grad_cam(name: str) -> None:
    peers = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    torch.manual_seed(3)
    model = create(name, pretrained=False, num_classes=10, size=224 if name == "test_vit" else None).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    images = torch.randn(2, 3, 224, 224)
    net = TimmBackbone(copy.deepcopy(model), f"timm:{name}")
    net.freeze()
    evidence = Evidence(net.features(images), net.head(), torch.tensor(CLASSES), ("a", "b"), images, net)

    def reshape(tokens: Tensor) -> Tensor:
        patches = tokens[:, net.prefix_tokens :]
        return patches.reshape(len(patches), 14, 14, -1).permute(0, 3, 1, 2)

    for ours, theirs in METHODS.items():
        found: list[Any] = []
        with getattr(peers, theirs)(model, [model.blocks[-1].norm1], reshape_transform=reshape) as cam:
            original = cam.get_cam_image

            def keep(*args: Any, original: Any = original, found: list[Any] = found, **kwargs: Any) -> Any:
                found.append(original(*args, **kwargs))
                return found[-1]

            cam.get_cam_image = keep
            cam(images, [targets.ClassifierOutputTarget(c) for c in CLASSES])
        made = raw_map(CAMS.get(ours), evidence, clamp=False)
        reference = np.asarray(found[0], dtype=np.float64)
        assert np.abs(reference).max() > 0
        np.testing.assert_allclose(made.numpy(), reference, rtol=0, atol=1e-3 * np.abs(reference).max(), err_msg=ours)

"""Other packages' CAM methods on our networks: one call from images to maps at the resolution of the feature map."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import HEADS, Backbone
from cambench.protocol import PAPER

Maps = Callable[[Backbone, Tensor, Sequence[int]], Tensor]


@dataclass(frozen=True)
class PeerMethod:
    """A peer's method beside ours: both map (network, images (B,3,R,R), classes) to signed or positive maps (B,P,Q).

    Attributes:
        ours: Name of our method. package: The peer. name: Its class. maps: Its call.
        images: Images compared; expensive methods take fewer. networks: Only on these; on all where empty.
    """

    ours: str
    package: str
    name: str
    maps: Maps
    images: int = 4
    networks: tuple[str, ...] = ()

    @property
    def cheap(self) -> bool:
        """No more than some forwards a map."""
        return self.images == 4


def our_maps(cam: str) -> Maps:
    """Our method from images to maps: forward, head, method, ReLU; nothing is shared with another call."""

    def maps(net: Backbone, images: Tensor, classes: Sequence[int]) -> Tensor:
        with torch.no_grad():
            features = net.features(images)
            ids = [str(i) for i in range(len(images))]
            e = Evidence(features, net.head("softmax"), torch.tensor(classes), ids, images, net)
            return score_map(CAMS.get(cam), e, HEADS.get("softmax"), PAPER)

    return maps


def grad_cam_package(name: str, target: str = "ClassifierOutputTarget") -> Maps:
    """A method of pytorch-grad-cam: its map before it is scaled and resized with OpenCV."""

    def maps(net: Backbone, images: Tensor, classes: Sequence[int]) -> Tensor:
        import pytorch_grad_cam as package
        from pytorch_grad_cam.utils import model_targets

        found: list[Any] = []
        with getattr(package, name)(net, [net.get_submodule(net.feature_layer)]) as cam:
            inner = getattr(cam, "base_cam", cam)
            original = inner.get_cam_image

            def keep(*args: Any, **kwargs: Any) -> Any:
                found.append(original(*args, **kwargs))
                return found[-1]

            inner.get_cam_image = keep
            # Finer-CAM chooses its classes itself, from the second-best on.
            cam(images, None if name == "FinerCAM" else [getattr(model_targets, target)(c) for c in classes])
        low = found[0]
        return low.detach() if isinstance(low, Tensor) else torch.from_numpy(np.asarray(low))

    return maps


def torch_cam_package(name: str, *, scores: bool = True) -> Maps:
    """A method of torch-cam, without its normalisation; Score-CAM's family reads no scores."""

    def maps(net: Backbone, images: Tensor, classes: Sequence[int]) -> Tensor:
        from torchcam import methods

        arguments: dict[str, Any] = {"input_shape": tuple(images.shape[1:])}
        if name == "CAM":
            arguments["fc_layer"] = "heads.softmax.linear"
        with getattr(methods, name)(net, net.feature_layer, **arguments) as extractor:
            logits = net(images)
            (found,) = extractor(list(classes), logits if scores else None, normalized=False)
        return found.detach()

    return maps


def captum_grad_cam(net: Backbone, images: Tensor, classes: Sequence[int]) -> Tensor:
    """Captum's LayerGradCam."""
    from captum.attr import LayerGradCam

    layer = LayerGradCam(net, net.get_submodule(net.feature_layer))
    found: Tensor = layer.attribute(images, target=torch.tensor(classes))
    return found.detach()[:, 0]


def captum_input(name: str) -> Maps:
    """An input attribution of Captum on the network as it is: largest colour of a gradient, sum of contributions."""

    def maps(net: Backbone, images: Tensor, classes: Sequence[int]) -> Tensor:
        from captum import attr

        # Captum refuses layers that work in place, and its hooks stay where an attribution fails.
        own = copy.deepcopy(net)
        for layer in own.modules():
            if isinstance(layer, torch.nn.ReLU):
                layer.inplace = False
        given = images.clone().requires_grad_()
        found: Tensor = getattr(attr, name)(own).attribute(given, target=torch.tensor(classes)).detach()
        return found.abs().amax(1) if name in ("Saliency", "GuidedBackprop") else found.sum(1)

    return maps


METHODS = (
    PeerMethod("gradcam", "pytorch-grad-cam", "GradCAM", grad_cam_package("GradCAM")),
    PeerMethod("gradcam", "torch-cam", "GradCAM", torch_cam_package("GradCAM")),
    PeerMethod("gradcam", "Captum", "LayerGradCam", captum_grad_cam),
    PeerMethod("cam", "torch-cam", "CAM", torch_cam_package("CAM", scores=False)),
    PeerMethod("gradcam++", "pytorch-grad-cam", "GradCAMPlusPlus", grad_cam_package("GradCAMPlusPlus")),
    PeerMethod("gradcam++", "torch-cam", "GradCAMpp", torch_cam_package("GradCAMpp")),
    PeerMethod("xgradcam", "pytorch-grad-cam", "XGradCAM", grad_cam_package("XGradCAM")),
    PeerMethod("xgradcam", "torch-cam", "XGradCAM", torch_cam_package("XGradCAM")),
    PeerMethod("layercam", "pytorch-grad-cam", "LayerCAM", grad_cam_package("LayerCAM")),
    PeerMethod("layercam", "torch-cam", "LayerCAM", torch_cam_package("LayerCAM")),
    PeerMethod("hirescam", "pytorch-grad-cam", "HiResCAM", grad_cam_package("HiResCAM")),
    PeerMethod("shapleycam", "pytorch-grad-cam", "ShapleyCAM", grad_cam_package("ShapleyCAM", "ClassifierOutputReST")),
    PeerMethod("finercam", "pytorch-grad-cam", "FinerCAM", grad_cam_package("FinerCAM")),
    PeerMethod("eigencam", "pytorch-grad-cam", "EigenCAM", grad_cam_package("EigenCAM")),
    PeerMethod("eigengradcam", "pytorch-grad-cam", "EigenGradCAM", grad_cam_package("EigenGradCAM")),
    PeerMethod("kpcacam", "pytorch-grad-cam", "KPCA_CAM", grad_cam_package("KPCA_CAM")),
    PeerMethod("fem", "pytorch-grad-cam", "FEM", grad_cam_package("FEM")),
    PeerMethod("ablationcam", "pytorch-grad-cam", "AblationCAM", grad_cam_package("AblationCAM")),
    PeerMethod("scorecam", "pytorch-grad-cam", "ScoreCAM", grad_cam_package("ScoreCAM"), images=2),
    PeerMethod("scorecam", "torch-cam", "ScoreCAM", torch_cam_package("ScoreCAM", scores=False), images=2),
    PeerMethod("iscam", "torch-cam", "ISCAM", torch_cam_package("ISCAM", scores=False), 1, ("slim_resnet",)),
    PeerMethod(
        "sscam", "torch-cam", "SSCAM", torch_cam_package("SSCAM", scores=False), images=1, networks=("slim_resnet",)
    ),
    PeerMethod("smoothgradcam++", "torch-cam", "SmoothGradCAMpp", torch_cam_package("SmoothGradCAMpp")),
    PeerMethod("saliency", "Captum", "Saliency", captum_input("Saliency")),
    PeerMethod("ig", "Captum", "IntegratedGradients", captum_input("IntegratedGradients"), images=2),
    PeerMethod("guided_backprop", "Captum", "GuidedBackprop", captum_input("GuidedBackprop")),
    PeerMethod("deeplift", "Captum", "DeepLift", captum_input("DeepLift")),
    PeerMethod("lrp", "Captum", "LRP", captum_input("LRP")),
)

"""Networks and evidence whose maps can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.contracts import Backbone, Branch, Head
from cambench.baselines.heads.heads import GapLinear, MlpHead


class GivenFeatures(Backbone):
    """A network whose images are its features."""

    def __init__(self, head: Head, nonnegative: bool) -> None:
        super().__init__((0, 0, 0), (1, 1, 1))
        self.name, self.nonnegative = "given", nonnegative
        self.num_classes, self.head_kind = head.num_classes, head.kind
        self.heads["softmax"] = head

    def features(self, images: Tensor) -> Tensor:
        return images


@pytest.fixture
def given_network() -> Callable[..., tuple[Backbone, dict[Branch, Evidence]]]:
    """``(kind, nonnegative) -> network, evidence of both branches`` in float64, with mixed signs in every map."""

    def make(kind: str, nonnegative: bool) -> tuple[Backbone, dict[Branch, Evidence]]:
        generator = torch.Generator().manual_seed(7)
        features = torch.randn(3, 6, 5, 4, generator=generator, dtype=torch.float64)
        if nonnegative:
            features = features.relu()
        else:
            # Sums that are zero or large and negative: where XGrad-CAM and Grad-CAM++ leave their F ≥ 0 identities.
            features = 40 * features
            features[:, 0] -= features[:, 0].mean((-2, -1), keepdim=True)
        target = torch.tensor([0, 2, 1])
        heads: dict[Branch, Head] = {}
        for branch in ("softmax", "sigmoid"):
            head: Head = GapLinear(6, 4) if kind == "gap_linear" else MlpHead(6, 4, hidden=(8,), pool=2)
            with torch.no_grad():
                for parameter in head.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
            heads[branch] = head.double().eval()
        network = GivenFeatures(heads["softmax"], nonnegative)
        network.heads["sigmoid"] = heads["sigmoid"]
        ids = ("a", "b", "c")
        network.freeze()
        return network, {b: Evidence(features, h, target, ids, features, network) for b, h in heads.items()}

    return make


@pytest.fixture
def settle() -> Callable[[nn.Module], None]:
    """Give every BatchNorm the statistics of random images, so that features of random weights have contrast."""

    def run(network: nn.Module) -> None:
        images = torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(1))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.6
        network.train()
        with torch.no_grad():
            for _ in range(4):
                network(images)
        network.eval()

    return run

"""The slim networks: contract, size, cost."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cambench.baselines.contracts import BACKBONES

KINDS = {"slim_vgg": "mlp", "slim_vgg_gap": "gap_linear", "slim_resnet": "gap_linear", "slim_inception": "gap_linear"}


@pytest.mark.parametrize("name", KINDS)
def test_contract(name: str) -> None:
    torch.manual_seed(0)
    net = BACKBONES.get(name).build(17).freeze()
    images = torch.randn(2, 3, 224, 224)
    features = net.features(images)
    assert features.shape[-2:] == (14, 14)
    assert (features >= 0).all()
    assert net.nonnegative
    assert net(images).shape == (2, 17)
    assert (net.num_classes, net.head_kind, net.head().kind) == (17, KINDS[name], KINDS[name])
    seen = []
    net.get_submodule(net.feature_layer).register_forward_hook(lambda m, i, out: seen.append(out))
    assert torch.equal(net.features(images), seen[0]), "feature_layer names the module that makes the features"
    channels_last = net.features(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(channels_last, features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_size_and_cost(name: str) -> None:
    net = BACKBONES.get(name).build(None).freeze()
    bytes_ = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    assert bytes_ < 3_000_000
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2 < 100e6


def test_normalise() -> None:
    net = BACKBONES.get("slim_resnet").build(2)
    pixels = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 2, 2) + 0.1
    expected = (0.1 / torch.tensor([0.229, 0.224, 0.225])).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(net.normalise(pixels), expected)

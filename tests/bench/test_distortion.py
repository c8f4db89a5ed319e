"""Eq. 9 and Eq. 10 on the shipped slim ResNet's own head."""

import pytest
import torch

from cambench.baselines.open import open_backbone
from cambench.bench.distortion import shift_sensitivity, shifted_maps


@pytest.fixture(scope="module")
def real():
    network = open_backbone("slim_resnet")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = network.features(network.normalise(images))
    linear = network.head("softmax").linear
    return features, linear.weight.detach(), linear.bias.detach(), torch.tensor([0, 3, 5])


@pytest.mark.parametrize(("delta", "channel"), [(0.5, 2), (10.0, 2), (-5.0, None)])
def test_probabilities_stay_and_the_map_moves_by_the_equation(real, delta, channel):
    features = real[0].double()
    before, old = shifted_maps(*real, 0.0, channel)
    after, new = shifted_maps(*real, delta, channel)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    moved = features.sum(1) if channel is None else features[:, channel]
    torch.testing.assert_close(new, old + delta * moved)


def test_sign_collapse_empties_the_map(real):
    assert (shifted_maps(*real, 0.0)[1] > 0).any()
    assert not (shifted_maps(*real, -100.0)[1] > 0).any()


def test_sensitivity_is_a_rate(real):
    rate = shift_sensitivity(*real, 1.0, 2)
    assert rate.shape == (3,)
    assert (rate >= 0).all()
    assert (rate <= 1).all()
    assert (shift_sensitivity(*real, -100.0) > 0).any()

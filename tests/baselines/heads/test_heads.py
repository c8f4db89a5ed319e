"""Heads: logits, class weights, fresh copies, and the four registered readings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cambench.baselines.contracts import HEADS
from cambench.baselines.heads.heads import GapLinear, MlpHead, ModuleHead

FEATURES = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).view(2, 3, 2, 2)


def test_gap_linear_by_hand() -> None:
    head = GapLinear(3, 2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0, -1], [2, 1, 0]]))
        head.linear.bias.copy_(torch.tensor([0.5, -1]))
    # Means of the channels: 1.5, 5.5, 9.5 and 13.5, 17.5, 21.5.
    assert head(FEATURES).tolist() == [[-7.5, 7.5], [-7.5, 43.5]]
    assert head.class_weights(torch.tensor([1, 0])).tolist() == [[2, 1, 0], [1, 0, -1]]


def test_mlp_is_pool_flatten_linear_relu_linear() -> None:
    head = MlpHead(3, 4, hidden=(5,), pool=1).eval()
    first, last = head.mlp[0], head.mlp[3]
    hidden = (FEATURES.mean((2, 3)) @ first.weight.T + first.bias).clamp_min(0)
    torch.testing.assert_close(head(FEATURES), hidden @ last.weight.T + last.bias)
    assert head.class_weights(torch.tensor([0, 1])) is None
    assert head.get_submodule(head.classifiers[0]) is last


def test_mlp_dropout_acts_in_training_only() -> None:
    head = MlpHead(3, 4, hidden=(64,), pool=1, dropout=0.5)
    head.train()
    assert not torch.equal(head(FEATURES), head(FEATURES))
    head.eval()
    assert torch.equal(head(FEATURES), head(FEATURES))


def module_head() -> ModuleHead:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 4))
    return ModuleHead(net, 4, ("4",)).eval()


@pytest.mark.parametrize(
    "head", [GapLinear(40, 30), GapLinear(40, 30, bias=False), MlpHead(8, 30, (40, 40), pool=2), module_head()]
)
def test_fresh_is_the_same_architecture_with_small_weights(head: GapLinear) -> None:
    before = {k: v.clone() for k, v in head.state_dict().items()}
    fresh = head.fresh(torch.Generator().manual_seed(3))
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {k: v.shape for k, v in before.items()}
    assert all(p.requires_grad for p in fresh.parameters())
    for layer in fresh.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.4)
            assert layer.bias is None or not layer.bias.any()
    again = head.fresh(torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items()), "the original was touched"


@pytest.mark.parametrize("head", [GapLinear(3, 4), MlpHead(3, 4, (5,), pool=2), module_head()])
def test_fresh_with_other_classes(head: GapLinear) -> None:
    fresh = head.fresh(num_classes=9).eval()
    assert fresh.num_classes == 9
    assert fresh(FEATURES).shape == (2, 9)
    assert head(FEATURES).shape == (2, 4)


def test_fresh_resets_normalisation() -> None:
    head = module_head()
    head.net[2].running_mean.fill_(5)
    head.net[2].weight.data.fill_(3)
    fresh = head.fresh()
    assert not fresh.net[2].running_mean.any()
    assert (fresh.net[2].weight == 1).all()


def test_module_head_leaves_features_untouched() -> None:
    features = torch.randn(2, 3, 2, 2, requires_grad=True)
    kept = features.detach().clone()
    module_head()(features).sum().backward()
    assert torch.equal(features.detach(), kept)


def test_registered_heads() -> None:
    found = {n: (HEADS.get(n).branch, HEADS.get(n).clamp) for n in HEADS.names()}
    assert found == {
        "softmax": ("softmax", False),
        "softmax_clamped": ("softmax", True),
        "sigmoid": ("sigmoid", True),
        "sigmoid_signed": ("sigmoid", False),
        "token_semantic": ("semantic", False),
    }
    assert {n: HEADS.get(n).activation for n in found}["token_semantic"] == "softmax"
    assert [n for n in found if HEADS.get(n).named] == ["token_semantic"]

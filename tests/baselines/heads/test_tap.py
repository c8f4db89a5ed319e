"""Thresholded average pooling: against plain loops, as a head, under the CAM methods, and by its suffix."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import cambench
from cambench.baselines.backbones import open_backbone
from cambench.baselines.backbones.opening import head_digest
from cambench.baselines.cams import CAMS, Evidence, supports
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import BACKBONES, HEADS
from cambench.baselines.heads import GapLinear
from cambench.baselines.heads.tap import TapLinear, thresholded_mean
from cambench.baselines.weights import WeightsError
from cambench.baselines.wsol import WsolError, apply_tap
from cambench.protocol import PROTOCOLS
from cambench.registry import UnknownNameError

GEN = torch.Generator().manual_seed(0)


def loops(features, threshold, upstream):
    """Pooled values and the gradient of their weighted sum, cell by cell in float64."""
    pooled, gradient = np.zeros(features.shape[:2]), np.zeros(features.shape)
    for b, n in np.ndindex(pooled.shape):
        cells = features[b, n].numpy()
        at = [place for place in np.ndindex(cells.shape) if cells[place] > threshold * cells.max()]
        if at:
            pooled[b, n] = sum(cells[place] for place in at) / len(at)
            for place in at:
                gradient[(b, n, *place)] = upstream[b, n].item() / len(at)
    return torch.from_numpy(pooled), torch.from_numpy(gradient)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.95])
def test_forward_and_gradient_are_those_of_the_definition(threshold):
    features = torch.randn(2, 5, 4, 6, dtype=torch.float64, generator=GEN)
    features[0, :2] = features[0, :2].relu()
    features[1, 0], features[1, 1] = 0, -1
    upstream = torch.randn(2, 5, dtype=torch.float64, generator=GEN)
    leaf = features.clone().requires_grad_()
    found = thresholded_mean(leaf, threshold)
    (gradient,) = torch.autograd.grad((found * upstream).sum(), leaf)
    pooled, expected = loops(features, threshold, upstream)
    torch.testing.assert_close(found, pooled, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-15)
    assert (found >= 0).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=12, max_size=12), st.floats(0, 0.99))
def test_a_threshold_of_zero_is_the_mean_and_a_lower_one_counts_more(values, threshold):
    features = torch.tensor(values, dtype=torch.float64).reshape(1, 2, 2, 3)
    torch.testing.assert_close(thresholded_mean(features, 0.0), features.mean((2, 3)), rtol=1e-14, atol=0)
    assert (thresholded_mean(features, threshold) >= features.mean((2, 3)) - 1e-9).all()


def tap_network(channels=6, classes=4, threshold=0.3):
    """Features, and a frozen head of random weights, in float64."""
    head = TapLinear(channels, classes, threshold=threshold).double().requires_grad_(False)
    torch.nn.init.normal_(head.linear.weight, generator=GEN)
    torch.nn.init.normal_(head.linear.bias, generator=GEN)
    return torch.randn(3, channels, 5, 5, dtype=torch.float64, generator=GEN).relu(), head


def evidence(features, head):
    return Evidence(features, head, torch.tensor([0, 3, 1]))


def test_the_class_map_ignores_the_pooling_and_the_logit_is_the_sum_of_hires_cam():
    features, head = tap_network()
    e = evidence(features, head)
    gap = GapLinear(6, 4).double()
    gap.load_state_dict(head.state_dict())
    signed = PROTOCOLS.get("wsoleval")
    for spec in (HEADS.get("softmax"), HEADS.get("softmax_clamped")):
        own = score_map(CAMS.get("cam"), e, spec, signed)
        assert torch.equal(own, score_map(CAMS.get("cam"), evidence(features, gap), spec, signed))
        torch.testing.assert_close(score_map(CAMS.get("gradcam"), e, spec, signed) * 25, own, rtol=1e-12, atol=1e-12)
    logit = e.logits.gather(1, e.target[:, None])[:, 0] - head.linear.bias[e.target]
    hires = score_map(CAMS.get("hirescam"), e, HEADS.get("softmax"), signed)
    torch.testing.assert_close(hires.sum((1, 2)), logit, rtol=1e-12, atol=1e-12)
    own = score_map(CAMS.get("cam"), e, HEADS.get("softmax"), signed)
    assert not torch.allclose(own.mean((1, 2)), logit, rtol=1e-3)


def test_channel_scores_are_those_of_taking_the_channel_away():
    features, head = tap_network()
    e = evidence(features, head)
    for channel in range(6):
        without = features.clone()
        without[:, channel] = 0
        lost = (e.logits - head(without)).gather(1, e.target[:, None])[:, 0]
        torch.testing.assert_close(CAMS.get("ablationcam").fn(e)[:, channel, 0, 0], lost, rtol=1e-11, atol=1e-11)


def test_pooled_features_are_all_that_a_head_trains_on():
    features, head = tap_network()
    fresh = head.fresh(torch.Generator().manual_seed(1), num_classes=7)
    assert (type(fresh), fresh.threshold, fresh.linear.weight.shape) == (TapLinear, 0.3, (7, 6))
    for each in (head, fresh):
        torch.testing.assert_close(each(each.condense(features)), each(features), rtol=1e-13, atol=1e-14)
    other = TapLinear(6, 4, threshold=0.4).double()
    other.load_state_dict(head.state_dict())
    assert head_digest(other) != head_digest(head), "the threshold is part of what decides the logits"


def saved(tmp_path, name, pooling, method="cam"):
    net = BACKBONES.get(name).build(12).eval()
    record = {"recipe": {"pooling": pooling}, "method": method, "method_parameters": {}}
    file = tmp_path / "net.safetensors"
    tensors = {k: v.contiguous() for k, v in net.state_dict().items()}
    save_file(tensors, file, {"record": json.dumps(record)})
    return file


def test_a_trained_network_is_opened_by_its_suffix_with_its_threshold(tmp_path):
    file = saved(tmp_path, "slim_resnet+tap", {"kind": "tap", "threshold": 0.25})
    net = open_backbone("slim_resnet+tap", weights=file)
    assert (net.name, net.head_kind, net.head().threshold, net.needs_training) == (
        *("slim_resnet+tap", "tap_linear", 0.25, False),
    )
    for cam in ("cam", "gradcam", "liftcam", "hirescam", "ablationcam", "xgradcam"):
        assert supports(CAMS.get(cam), net) is None
    assert supports(CAMS.get("lrp"), net) is not None, "Captum has no rule for the pooling"
    with pytest.raises(WeightsError, match=r"trained with cam and tap, not with cam: open them as slim_resnet\+tap$"):
        open_backbone("slim_resnet", weights=file)
    with pytest.raises(WeightsError, match=r"with adl and tap, not with has and tap: .* slim_resnet\+tap\+adl$"):
        open_backbone(
            "slim_resnet+tap+has", weights=saved(tmp_path, "slim_resnet+tap+adl", {"kind": "tap"}, method="adl")
        )
    with pytest.raises(WeightsError, match=r"trained with cam, not with cam and tap: open them as slim_resnet$"):
        open_backbone("slim_resnet+tap", weights=saved(tmp_path, "slim_resnet", {"kind": "gap"}))


def test_names_with_the_suffix():
    assert cambench.list_backbones("slim_{vgg_gap,resnet}+{tap,adl}") == [
        *("slim_vgg_gap+tap", "slim_vgg_gap+adl", "slim_resnet+tap", "slim_resnet+adl")
    ]
    assert cambench.list_backbones("slim_resnet+tap+a*") == ["slim_resnet+tap+acol", "slim_resnet+tap+adl"]
    with pytest.raises(UnknownNameError, match=r"did you mean 'slim_resnet\+tap\+adl'"):
        BACKBONES.get("slim_resnet+adl+tap")
    with pytest.raises(WsolError, match=r"acol cannot change slim_resnet\+tap: it needs .* GAP \+ linear"):
        BACKBONES.get("slim_resnet+tap+acol").build(3)
    with pytest.raises(WsolError, match=r"spg cannot change slim_resnet\+tap: .* with GAP"):
        BACKBONES.get("slim_resnet+tap+spg").build(3)
    with pytest.raises(WsolError, match="tap cannot change slim_vgg: .* such as vgg16_gap"):
        BACKBONES.get("slim_vgg+tap").build(3)
    with pytest.raises(ValueError, match=r"a share of a channel's maximum in \[0, 1\), got 1"):
        apply_tap(BACKBONES.get("slim_resnet").build(3), 1)

"""Identities of CAM methods on GAP + linear heads: Hypothesis properties, and every alias checked by number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor
from torch.nn import functional as F

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import canonical, supports
from cambench.baselines.cams.method import CAMS, CamMethod
from cambench.baselines.cams.score_map import combine, raw_map, score_map
from cambench.baselines.contracts import HEADS
from cambench.baselines.heads.heads import GapLinear
from cambench.protocol import PROTOCOLS, MapRule, Protocol

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

Make = Callable[..., Any]
RARELY_NEGATIVE = {"smoothgradcam++"}
"""Methods whose weights can be negative, but are not on these networks: the clamp changes nothing here."""


def evidence_of(features: Any, weights: Any, target: int = 0) -> Evidence:
    f, w = torch.from_numpy(features), torch.from_numpy(weights)
    head = GapLinear(w.shape[1], w.shape[0]).double()
    head.linear.weight.data, head.linear.bias.data = w, torch.zeros(len(w), dtype=torch.float64)
    return Evidence(f, head, torch.full((len(f),), target), tuple(map(str, range(len(f)))))


@st.composite
def gap_evidence(draw: st.DrawFn, signed: bool = False) -> Evidence:
    batch, channels, p, q = (draw(st.integers(1, n)) for n in (3, 4, 4, 3))
    values = st.integers(-8 if signed else 0, 8).map(lambda v: v / 4)
    features = draw(hnp.arrays("float64", (batch, channels, p, q), elements=values))
    weights = draw(hnp.arrays("float64", (3, channels), elements=st.integers(-9, 9).map(lambda v: v / 3)))
    return evidence_of(features, weights, draw(st.integers(0, 2)))


def weights_of(name: str, e: Evidence) -> Tensor:
    return CAMS.get(name).fn(e)


@given(gap_evidence(signed=True))
def test_gradcam_weights_are_the_linear_weights_over_the_area(e: Evidence) -> None:
    area = e.features.shape[-1] * e.features.shape[-2]
    torch.testing.assert_close(weights_of("gradcam", e), weights_of("cam", e) / area, rtol=1e-14, atol=0)


@given(gap_evidence())
def test_xgradcam_is_gradcam(e: Evidence) -> None:
    maps = [raw_map(CAMS.get(n), e, clamp=False) for n in ("xgradcam", "gradcam")]
    torch.testing.assert_close(*maps, rtol=1e-6, atol=1e-6)


@given(gap_evidence(signed=True))
def test_layercam_is_clamped_gradcam(e: Evidence) -> None:
    ours = raw_map(CAMS.get("layercam"), e, clamp=False)
    torch.testing.assert_close(ours, raw_map(CAMS.get("gradcam"), e, clamp=True), rtol=1e-12, atol=1e-14)


@given(gap_evidence())
def test_layercam_and_gradcam_pp_have_no_negative_weights(e: Evidence) -> None:
    for name in ("layercam", "gradcam++"):
        weights = weights_of(name, e)
        assert (weights >= 0).all()
        assert torch.equal(combine(weights, e.features, clamp=True), combine(weights, e.features, clamp=False))


@given(gap_evidence(), st.integers(-6, 6), st.integers(0, 3))
def test_additive_shift(e: Evidence, shift: int, channel: int) -> None:
    """Paper Eq. 8-9: δ on one channel's weight for all classes keeps softmax and moves its map by δ·F_i."""
    channel %= e.features.shape[1]
    weights = e.head.get_parameter("linear.weight").detach().clone()
    weights[:, channel] += shift
    moved = evidence_of(e.features.numpy(), weights.numpy(), int(e.target[0]))
    torch.testing.assert_close(moved.logits.softmax(1), e.logits.softmax(1), rtol=1e-10, atol=1e-12)
    change = raw_map(CAMS.get("cam"), moved, clamp=False) - raw_map(CAMS.get("cam"), e, clamp=False)
    torch.testing.assert_close(change, shift * e.features[:, channel], rtol=1e-10, atol=1e-10)
    mean = e.features[:, channel].mean((-2, -1))
    torch.testing.assert_close(moved.logits, e.logits + shift * mean[:, None], rtol=1e-10, atol=1e-10)


@given(gap_evidence(), st.floats(0.1, 10))
def test_gradient_methods_scale_with_the_logit(e: Evidence, factor: float) -> None:
    scaled = evidence_of(
        e.features.numpy(), e.head.get_parameter("linear.weight").detach().numpy() * factor, int(e.target[0])
    )
    for name in ("cam", "gradcam", "xgradcam", "layercam"):
        torch.testing.assert_close(weights_of(name, scaled), weights_of(name, e) * factor, rtol=1e-9, atol=1e-12)


def finished(low: Tensor, rule: MapRule, method: CamMethod) -> Tensor:
    """The map as a metric sees it: resized and min-max normalised by the rule; masks are only resized."""
    mode = rule.kernel
    if method.returns == "mask":
        return F.interpolate(low[None].double(), size=(32, 32), mode=mode, align_corners=False)[0]
    if rule.low_res_min_max:
        low = min_max(low)
    return min_max(F.interpolate(low[None], size=(32, 32), mode=mode, align_corners=False)[0])


def min_max(maps: Tensor) -> Tensor:
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0)


@pytest.mark.parametrize("protocol", [PROTOCOLS.get(n) for n in PROTOCOLS.names()], ids=lambda p: p.name)
@pytest.mark.parametrize(("kind", "nonnegative"), [("gap_linear", True), ("gap_linear", False), ("mlp", True)])
def test_aliases_are_equal_and_others_differ(
    given_network: Make, kind: str, nonnegative: bool, protocol: Protocol
) -> None:
    network, evidence = given_network(kind, nonnegative)
    maps = {}
    for cam in CAMS.names():
        method = CAMS.get(cam)
        # Where the image is the feature map, Integrated Gradients is CAM on a linear network: no identity of networks.
        if supports(method, network) or "input_gradients" in method.needs:
            continue
        for head in (h for h in map(HEADS.get, HEADS.names()) if supports(method, network, h) is None):
            low = score_map(method, evidence[head.branch], head, protocol)
            final = finished(low, protocol.rule_for(cam), method)
            maps[cam, head.name] = canonical(method, head, network, protocol), final
    aliased = 0
    for (first, (key, ours)), (second, (other_key, theirs)) in combinations(maps.items(), 2):
        gap = (ours - theirs).abs().max().item()
        if key == other_key:
            aliased += 1
            # XGrad-CAM's ε leaves 1e-7/ΣF.
            assert gap < 1e-6, f"{first} and {second} are called one map but differ by {gap}"
        elif first[0] != second[0] or first[0] not in RARELY_NEGATIVE:
            assert gap > 1e-3, f"{first} and {second} are one map ({gap}) but not called so"
    assert aliased >= 3 * 6, "at least the controls are aliased over four heads"


def test_expected_numbers_of_distinct_maps(given_network: Make) -> None:
    """ALGORITHMS' count: 3 distinct maps of five methods on a GAP head without clamp, 2 with; 4 and 4 on an MLP."""
    protocol = PROTOCOLS.get("paper")
    for kind, plain, clamped in (("gap_linear", 3, 2), ("mlp", 4, 4)):
        network, _ = given_network(kind, True)
        real = [CAMS.get(n) for n in ("cam", "gradcam", "gradcam++", "xgradcam", "layercam")]
        real = [m for m in real if supports(m, network) is None]
        for head, count in (("softmax", plain), ("sigmoid", clamped)):
            assert len({canonical(m, HEADS.get(head), network, protocol) for m in real}) == count


def test_rules_separate_maps(given_network: Make) -> None:
    network, _ = given_network("gap_linear", True)
    softmax = HEADS.get("softmax")
    keys = {
        p: [canonical(CAMS.get(c), softmax, network, PROTOCOLS.get(p)) for c in ("cam", "gradcam")]
        for p in ("paper", "beyond-softmax-code")
    }
    assert keys["paper"][0] == keys["paper"][1]
    assert keys["beyond-softmax-code"][0] != keys["beyond-softmax-code"][1]


def test_clamp_exemption_is_respected(given_network: Make) -> None:
    evidence = given_network("mlp", False)[1]
    protocol = Protocol(name="t", clamp_exempt=("gradcam",))
    free, clamped = (
        score_map(CAMS.get("gradcam"), evidence["sigmoid"], HEADS.get("sigmoid"), p)
        for p in (protocol, Protocol(name="t"))
    )
    signed = score_map(CAMS.get("gradcam"), evidence["sigmoid"], HEADS.get("sigmoid_signed"), protocol)
    assert torch.equal(free, signed)
    assert not torch.equal(free, clamped)


def test_support_reason_names_the_nearest(given_network: Make) -> None:
    network, _ = given_network("mlp", True)
    reason = supports(CAMS.get("cam"), network)
    assert reason is not None
    assert "GAP + linear" in reason
    assert "gradcam" in reason
    tree = CamMethod("rollout", lambda e: e.features, "Rollout", "", needs=frozenset({"attention"}), returns="map")
    assert "attention" in (supports(tree, network) or "")
    for name in CAMS.names():
        if name not in ("cam", "rollout", "tscam") and CAMS.get(name).refuses is None:
            assert supports(CAMS.get(name), network) is None


@settings(max_examples=1)
@given(gap_evidence())
def test_wrong_shapes_are_named(e: Evidence) -> None:
    wrong = CamMethod("wrong", lambda e: e.features[:, 0], "", "")
    with pytest.raises(ValueError, match=r"'wrong' returned weights of shape"):
        raw_map(wrong, e, clamp=False)
    flat = CamMethod("flat", lambda e: e.features, "", "", returns="map")
    with pytest.raises(ValueError, match=r"'flat' returned a map of shape"):
        raw_map(flat, e, clamp=False)

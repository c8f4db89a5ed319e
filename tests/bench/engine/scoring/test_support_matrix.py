"""Every method × network family × head: it runs, or the plan says why not and what is nearest, before the run."""

from __future__ import annotations

import re

import pytest
import torch

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import raw_map
from cambench.baselines.contracts import HEADS, Backbone
from cambench.bench.engine.planning.plan import plan_backbone
from cambench.bench.engine.planning.triples import Wanted
from cambench.bench.host.errors import UsageError
from cambench.protocol import PROTOCOLS
from cambench.triple import Triple

FAMILIES = {
    "slim_resnet": "GAP + linear, F ≥ 0",
    "slim_vgg": "MLP head",
    "timm:test_convnext": "another head, NCHW",
    "timm:test_mambaout": "another head, NHWC",
    "timm:test_vit4": "tokens, averaged",
    "timm:test_vit": "tokens, class token",
}
"""One small network of each kind."""
CLASS_TOKEN = "timm:test_vit"
ANYWHERE = {"gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "eigencam", "random", "center", "uniform"}


def opened(name: str) -> Backbone:
    net = open_backbone(name, num_classes=4, pretrained=False)
    net.heads["sigmoid"] = net.fresh_head("sigmoid", torch.Generator().manual_seed(1))
    if net.lacks("semantic") is None:
        net.heads["semantic"] = net.fresh_head("semantic", torch.Generator().manual_seed(2))
    net.freeze()
    return net


@pytest.mark.parametrize("name", FAMILIES)
def test_a_triple_runs_or_is_refused_with_the_nearest(name: str) -> None:
    net, protocol = opened(name), PROTOCOLS.get("paper")
    side = 224 if "vit" in name else 64
    images, target, ids = torch.randn(2, 3, side, side), torch.tensor([0, 3]), ("a", "b")
    with torch.no_grad():
        features = net.features(images)
    refused, ran = set(), set()
    for head in map(HEADS.get, HEADS.names()):
        evidence = (
            Evidence(features, net.head(head.branch), target, ids, images, net) if head.branch in net.heads else None
        )
        for cam in CAMS.names():
            method = CAMS.get(cam)
            if (method.heads and head.name not in method.heads) or (method.headless and head.name != "softmax"):
                continue
            triple = Triple(name, cam, head.name)
            reason = supports(method, net, head)
            if reason is not None:
                refused.add((cam, head.name))
                with pytest.raises(UsageError, match=re.escape(f"triple {triple}: {reason}")):
                    plan_backbone(name, [Wanted(triple, explicit=True)], net, protocol)
                found = plan_backbone(name, [Wanted(triple, explicit=False)], net, protocol)
                assert found.skipped == {triple: reason}
                nearest, _, under = reason.rpartition("nearest: ")[2].partition(" under ")
                assert supports(CAMS.get(nearest), net, HEADS.get(under or head.name)) is None, reason
                continue
            assert plan_backbone(name, [Wanted(triple, explicit=True)], net, protocol).maps == [triple]
            if method.expensive and cam not in {"rollout", "tscam", "legrad", "transformer_attribution"}:
                continue
            assert evidence is not None
            made = raw_map(method, evidence, clamp=head.clamp)
            assert made.ndim == 3, triple
            assert torch.isfinite(made).all(), triple
            ran.add((cam, head.name))
    assert {cam for cam, _ in ran} >= ANYWHERE
    assert (("cam", "softmax") in refused) == (net.head_kind != "gap_linear")
    assert (("rollout", "softmax") in ran) == name.startswith("timm:test_vit")
    assert (("tscam", "token_semantic") in ran) == (("gradcam", "token_semantic") in ran) == (name == CLASS_TOKEN)

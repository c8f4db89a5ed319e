"""The paper's triples of one network beside one plain forward: ten maps on ResNet-50, eight on VGG-16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import BACKBONES, HEADS, Backbone, Branch
from cambench.protocol import PAPER

METHODS = ("cam", "gradcam", "gradcam++", "xgradcam", "layercam")
TRIPLES = {"resnet50": 10, "vgg16": 8}
BATCH = 4


@pytest.fixture(scope="module", params=TRIPLES)
def prepared(request: pytest.FixtureRequest) -> tuple[Backbone, Tensor]:
    torch.manual_seed(0)
    net = BACKBONES.get(request.param).build(200)
    net.heads["sigmoid"] = net.head().fresh()
    return net.freeze(), torch.randn(BATCH, 3, 224, 224)


def paper_maps(net: Backbone, images: Tensor) -> list[Tensor]:
    """Every map of the paper's methods under both heads, none left out for being equal to another."""
    features = net.features(images)
    target = net.head("softmax")(features).argmax(1)
    branches: tuple[Branch, ...] = ("softmax", "sigmoid")
    evidence = {b: Evidence(features, net.head(b), target) for b in branches}
    methods = [m for m in map(CAMS.get, METHODS) if supports(m, net) is None]
    return [score_map(m, evidence[h.branch], h, PAPER) for m in methods for h in map(HEADS.get, evidence)]


@pytest.mark.benchmark(warmup=True, warmup_iterations=1, min_rounds=5, max_time=2.0)
def test_plain_forward(benchmark: Any, prepared: tuple[Backbone, Tensor]) -> None:
    net, images = prepared
    benchmark.group = f"paper's triples, {net.name}, batch of {BATCH}"
    with torch.no_grad():
        assert benchmark(net, images).shape == (BATCH, 200)


@pytest.mark.benchmark(warmup=True, warmup_iterations=1, min_rounds=5, max_time=2.0)
def test_paper_maps(benchmark: Any, prepared: tuple[Backbone, Tensor]) -> None:
    net, images = prepared
    benchmark.group = f"paper's triples, {net.name}, batch of {BATCH}"
    with torch.no_grad():
        maps = benchmark(paper_maps, net, images)
    assert len(maps) == TRIPLES[net.name]
    assert all(m.shape == (BATCH, 14, 14) for m in maps)

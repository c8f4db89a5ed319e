"""Cost of all maps of a backbone beside one plain forward of the same batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import canonical, supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import BACKBONES, HEADS, Backbone
from cambench.protocol import PAPER

NETWORKS = ("slim_vgg", "slim_vgg_gap", "slim_resnet", "slim_inception")
BATCH = 16


def prepared(name: str) -> tuple[Backbone, Tensor]:
    torch.manual_seed(0)
    net = BACKBONES.get(name).build(None)
    net.heads["sigmoid"] = net.head().fresh()
    return net.freeze(), torch.randn(BATCH, 3, 224, 224)


def all_maps(net: Backbone, images: Tensor) -> list[Tensor]:
    """Every distinct map of every method and head from one forward; methods that need more are left out."""
    features = net.features(images)
    target = net.head("softmax")(features).argmax(1)
    ids = tuple(map(str, range(len(images))))
    branches = {b: Evidence(features, net.head(b), target, ids) for b in ("softmax", "sigmoid")}
    distinct = {}
    for method in (m for m in map(CAMS.get, CAMS.names()) if not m.expensive):
        for head in map(HEADS.get, HEADS.names()):
            if supports(method, net, head) is None:
                distinct.setdefault(canonical(method, head, net, PAPER), (method, head))
    return [score_map(m, branches[h.branch], h, PAPER) for m, h in distinct.values()]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.benchmark(warmup=True, warmup_iterations=1, min_rounds=5, max_time=1.0)
def test_plain_forward(benchmark: Any, name: str) -> None:
    benchmark.group = f"maps, {name}, batch of {BATCH}"
    net, images = prepared(name)
    with torch.no_grad():
        assert benchmark(net, images).shape == (BATCH, net.num_classes)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.benchmark(warmup=True, warmup_iterations=1, min_rounds=5, max_time=1.0)
def test_all_maps(benchmark: Any, name: str) -> None:
    benchmark.group = f"maps, {name}, batch of {BATCH}"
    net, images = prepared(name)
    with torch.no_grad():
        maps = benchmark(all_maps, net, images)
    benchmark.extra_info["distinct maps"] = len(maps)
    assert all(m.shape == (BATCH, 14, 14) for m in maps)

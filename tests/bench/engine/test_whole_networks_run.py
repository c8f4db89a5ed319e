"""Runs of networks that are wrapped whole: context heads, grey images, and what cannot be run on colour pictures."""

import numpy as np
import pytest
import torch
from torch import nn

import cambench
from cambench.baselines.contracts import BACKBONES
from cambench.bench.host.errors import UsageError


class Skipping(nn.Module):
    """What the layer makes is joined with what came before it."""

    def __init__(self, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.body, self.fc = nn.Conv2d(channels, 6, 3, 32), nn.Conv2d(6, 2, 1), nn.Linear(8, 12)
        nn.init.normal_(self.fc.weight)

    def forward(self, x):
        stem = self.stem(x)
        return self.fc(torch.cat((self.body(stem), stem), 1).relu().amax((-2, -1)))


@pytest.fixture(autouse=True)
def no_traces():
    """Names registered here are taken back."""
    before = set(BACKBONES._entries)
    yield
    for name in set(BACKBONES._entries) - before:
        BACKBONES._entries.pop(name), BACKBONES._origin.pop(name)


def test_a_run_reads_a_whole_network_and_its_cost_column_says_so(settings):
    cambench.wrap(name="mine_through", model=Skipping(), layer="body", mean=(0.5,) * 3, std=(0.5,) * 3)
    cambench.wrap(name="mine_grey", model=Skipping(1), layer="stem", mean=(0.5,), std=(0.5,))
    triples = ("mine_through/{gradcam,random}/softmax", "mine_grey/gradcam/softmax")
    result = cambench.run(**settings | {"triples": triples})
    manifest = result.run.manifest
    assert manifest.cost("mine_through", "gradcam") == "1 forward + 1 network backward"
    assert manifest.cost("mine_grey", "gradcam") == "1 forward + 1 head backward"
    for triple in manifest.triples:
        assert np.isfinite(result.run.column(triple, "o")).all()
    tables = "\n".join(path.read_text() for path in result.paths if path.suffix == ".md")
    assert "1 forward + 1 network backward" in tables
    assert "runs the whole network: its head reads more than the map" in tables


def test_networks_of_other_bands_are_for_explain(settings):
    cambench.wrap(name="mine_bands", model=Skipping(4), layer="stem", mean=(0.5,) * 4, std=(0.5,) * 4)
    with pytest.raises(UsageError, match=r"mine_bands takes images of 4 channels, and those of .* have 3 colours"):
        cambench.run(**settings | {"triples": ("mine_bands/gradcam/softmax",)})

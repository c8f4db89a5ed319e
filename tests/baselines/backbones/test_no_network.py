"""What people give in the place of a network that can be read is said by what it is, with what to give instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_network import HALF, Small, evidence, pictures
from torch import nn

import cambench
from cambench.baselines.backbones import backbone_of, file_of_network, instead_of_network
from cambench.baselines.backbones.timm.layout import UnsupportedNetworkError
from cambench.bench.host.errors import UsageError

PICTURE = np.zeros((64, 64, 3), np.uint8)


def small() -> nn.Module:
    return Small()


class Learner:
    def __init__(self) -> None:
        self.model = Small()


class ModelProto:
    __module__ = "onnx.onnx_pb"


GIVEN: list[tuple[Any, str]] = [
    (Small().state_dict(), r"weights without a network; build the network, load them \(net.load_state_dict\(…\)\)"),
    (Small, r"the class Small; give a network of it: Small\(…\)"),
    (small, r"the function small; give the network that it returns, small\(…\), or that it calls"),
    (Learner(), "a Learner; give the network in it, its .model"),
    (ModelProto(), "the ModelProto of onnx, which has no layers and no gradients; give the network in PyTorch"),
    ([Small(), Small()], "a list of 2 networks; give one, or one after another"),
    (None, "a value of type NoneType"),
]


@pytest.mark.parametrize(("given", "words"), GIVEN, ids=[words[:20] for _, words in GIVEN])
def test_other_things_are_said_by_what_they_are(given: Any, words: str) -> None:
    with pytest.raises(UnsupportedNetworkError, match=f"model is {words}"):
        cambench.wrap(name="mine", model=given)
    with pytest.raises(UsageError, match=f"got {words}"):
        cambench.explain(given, PICTURE)


def test_files_of_networks_are_told_by_their_endings() -> None:
    found = {
        name: file_of_network(name) for name in ("net.onnx", "a/b.PT2", "net.h5", "timm:resnet18.a1_in1k", "vgg16")
    }
    assert [bool(what) for what in found.values()] == [True, True, True, False, False]
    with pytest.raises(UsageError, match="net.onnx is an ONNX file, which has no gradients; give the network"):
        cambench.explain("net.onnx", PICTURE)


@pytest.mark.parametrize("inside", [False, True])
def test_an_exported_network_is_refused_in_a_sentence(inside: bool) -> None:
    """It ended in an IndexError's words."""
    exported = torch.export.export(Small().eval(), (pictures(),))
    assert instead_of_network(exported).startswith("a network made by torch.export, operations without layers")
    graph = exported.module()
    model = nn.Sequential(graph, nn.Softmax(dim=1)) if inside else graph
    with pytest.raises(UnsupportedNetworkError, match="is made by torch.export.*load_state_dict.exported.state_dict"):
        backbone_of(model, **HALF)
    with pytest.raises(UnsupportedNetworkError, match="is made by torch.export"):
        cambench.wrap(name="mine", model=model, layer="body", **HALF)


def test_a_traced_graph_of_layers_is_read() -> None:
    model = Small().eval()
    net = backbone_of(torch.fx.symbolic_trace(model), **HALF)
    torch.testing.assert_close(net(pictures()), model(pictures()))
    assert evidence(net, pictures()).gradients.abs().max() > 0


def test_a_network_built_to_be_quantised_later_is_read() -> None:
    """Its additions are of float32, whatever their class's module is called; they were taken for integers."""

    class Adding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.add = Small(), torch.ao.nn.quantized.FloatFunctional()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            made = self.net(images)
            found: torch.Tensor = self.add.add(made, made)
            return found

    model = Adding().eval()
    torch.testing.assert_close(backbone_of(model, **HALF)(pictures()), model(pictures()))


def test_weights_spread_over_processes_are_refused() -> None:
    """Running them outside their group ended the process."""

    class DTensor(nn.Parameter):
        pass

    model = Small()
    name, parameter = next(iter(model.named_parameters()))
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, DTensor(parameter.detach()))
    with pytest.raises(
        UnsupportedNetworkError, match=f"weights are spread over processes .*{name} is a part.*full_state"
    ):
        backbone_of(model, **HALF)


def test_one_method_answers_to_its_name_as_several_do() -> None:
    e = cambench.explain(Small().eval(), PICTURE, cam="gradcam")
    assert e["gradcam"] is e
    with pytest.raises(KeyError, match="the maps of gradcam alone"):
        e["layercam"]

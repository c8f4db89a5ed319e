"""Networks with a method's suffix: how they are named, made, opened with trained weights, and refused."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

import cambench
from cambench.baselines.backbones import open_backbone
from cambench.baselines.cams import CAMS, Evidence, supports
from cambench.baselines.contracts import BACKBONES
from cambench.baselines.weights import WeightsError
from cambench.baselines.wsol import acol_map, split_name
from cambench.bench.engine.planning.triples import expand_patterns
from cambench.registry import UnknownNameError


def saved(tmp_path, name, method, parameters=None, trained=None):
    """A file as ``train backbone`` writes it, of a network with random parameters."""
    net = BACKBONES.get(name).build(12).eval()
    record = {"recipe": {}, "method": trained or method, "method_parameters": parameters or {}}
    file = tmp_path / f"{method}.safetensors"
    tensors = {k: v.contiguous() for k, v in net.state_dict().items()}
    save_file(tensors, file, {"record": json.dumps(record)})
    return file, net


def test_the_six_methods_are_listed():
    assert cambench.list_wsol() == ["cam", "has", "acol", "spg", "adl", "cutmix"]
    assert "slim_vgg_gap+adl" not in cambench.list_backbones()
    assert cambench.list_backbones("slim_{vgg_gap,resnet}+a*") == [
        *("slim_vgg_gap+acol", "slim_vgg_gap+adl", "slim_resnet+acol", "slim_resnet+adl")
    ]


def test_names_are_taken_apart():
    assert split_name("vgg16_gap+adl") == ("vgg16_gap", "adl")
    assert split_name("vgg16_gap") == ("vgg16_gap", "cam")
    with pytest.raises(UnknownNameError, match="unknown WSOL method 'adll'; did you mean 'adl'"):
        BACKBONES.get("slim_vgg_gap+adll")
    with pytest.raises(UnknownNameError, match="did you mean 'slim_vgg_gap'"):
        BACKBONES.get("slim_vgg_gap+cam")
    assert "slim_vgg_gap+adl" in BACKBONES
    assert "slim_vgg_gap+adll" not in BACKBONES


def test_triples_with_a_method():
    found = [w.triple for w in expand_patterns(["slim_{vgg_gap,resnet}+{adl,has}/{cam,gradcam}/{softmax,sigmoid}"])]
    assert len(found) == 16
    assert "slim_resnet+adl/gradcam/sigmoid" in found
    with pytest.raises(UnknownNameError, match="unknown WSOL method 'adk'"):
        expand_patterns(["slim_vgg_gap+adk/cam/softmax"])


@pytest.mark.parametrize("method", ["adl", "has", "cutmix"])
def test_a_network_without_new_layers_is_the_plain_one(tmp_path, method):
    name = f"slim_vgg_gap+{method}"
    file, net = saved(tmp_path, name, method)
    opened = open_backbone(name, weights=file)
    assert (opened.name, opened.needs_training) == (name, False)
    images = torch.randn(2, 3, 64, 64)
    plain = BACKBONES.get("slim_vgg_gap").build(12).eval()
    plain.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(opened(images), plain(images))


def test_own_maps_run_on_their_networks_alone(tmp_path):
    file, net = saved(tmp_path, "slim_resnet+acol", "acol", {"threshold": 0.3})
    opened = open_backbone("slim_resnet+acol", weights=file)
    images, target = torch.randn(2, 3, 64, 64), torch.tensor([3, 5])
    evidence = Evidence(
        opened.features(images), opened.head("softmax"), target, images=images, backbone=opened, image_ids=("a", "b")
    )
    net.acol_threshold = 0.3
    own = CAMS.get("acolmap").fn(evidence)
    torch.testing.assert_close(own, acol_map(net, images, target))
    net.acol_threshold = 0.9
    assert not torch.equal(own, acol_map(net, images, target)), "the file's threshold counts"
    for method in ("cam", "gradcam", "layercam", "acolmap"):
        assert supports(CAMS.get(method), opened) is None
    assert "spgmap is the map of networks that SPG trained (NETWORK+spg), and slim_resnet+acol is none" in str(
        supports(CAMS.get("spgmap"), opened)
    )
    plain = BACKBONES.get("slim_resnet").build(12)
    assert "acolmap is the map of networks that ACoL trained" in str(supports(CAMS.get("acolmap"), plain))


def test_spg_map_is_cam_with_the_bias():
    net = BACKBONES.get("slim_vgg_gap+spg").build(12).eval()
    torch.nn.init.normal_(net.heads["softmax"].linear.bias)
    images, target = torch.randn(2, 3, 64, 64), torch.tensor([3, 5])
    with torch.no_grad():
        features = net.features(images)
        evidence = Evidence(features, net.head("softmax"), target, images=images, backbone=net)
        rows = net.heads["softmax"].linear
        expected = (rows.weight[target][:, :, None, None] * features).sum(1) + rows.bias[target][:, None, None]
    torch.testing.assert_close(CAMS.get("spgmap").fn(evidence), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "trained", "right"),
    [
        ("slim_vgg_gap+adl", "has", "slim_vgg_gap+has"),
        ("slim_vgg_gap", "adl", "slim_vgg_gap+adl"),
        ("slim_vgg_gap+adl", "cam", "slim_vgg_gap"),
    ],
)
def test_a_file_of_another_method_is_refused(tmp_path, name, trained, right):
    file, _ = saved(tmp_path, "slim_vgg_gap+adl", "adl", trained=trained)
    with pytest.raises(WeightsError, match=re.escape(f"open them as {right}") + "$"):
        open_backbone(name, weights=file)

"""Names and shapes in published checkpoints, as their authors' networks have them: ``published_keys``, a line a key.

``NAME SHAPE METHODS``; C are the classes. The lists hold what wsolevaluation's and Rethinking CAM's layers are called
(an ADL layer takes a number of the layers behind it; SPG's third stage of resnet50 has two names).
"""

from pathlib import Path

import pytest
import torch

from cambench.baselines.backbones import account_of, open_backbone
from cambench.baselines.contracts import BACKBONES

LISTS = Path(__file__).parent / "published_keys"
METHODS = ("cam", "has", "acol", "spg", "adl", "cutmix")
COUNTS = {
    "vgg16_gap": (30, 30, 38, 44, 30, 30),
    "resnet50": (320, 320, 330, 332, 320, 320),
    "inception_v3_gap": (426, 426, 432, 438, 426, 426),
}
CLASSES = 200


def published(name, method):
    """A checkpoint's keys with tensors of their shapes, each of one number in memory: their places in the list."""
    state = {}
    for number, line in enumerate((LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines(), 1):
        key, shape, methods = line.split(" ")
        if method in methods.split(","):
            sizes = [CLASSES if size == "C" else int(size) for size in shape.split("x") if size != "scalar"]
            state[key] = torch.full((), number, dtype=torch.float32 if sizes else torch.int64).expand(sizes)
    return state


def saved(folder, state, holder="state_dict", prefix="module."):
    file = folder / "last_checkpoint.pth.tar"
    torch.save({"epoch": 3, holder: {f"{prefix}{key}": tensor for key, tensor in state.items()}}, file)
    return file


def networks():
    """Our name, list and method of every published checkpoint of wsolevaluation."""
    found = [(name if m == "cam" else f"{name}+{m}", name, m) for name in COUNTS for m in METHODS]
    return [*found, ("vgg16_gap_28", "vgg16_gap", "cam-28"), ("vgg16_gap_28+adl", "vgg16_gap", "adl-28")]


def numbered(key):
    """For sorting as a list of layers counts: features.10 is behind features.9."""
    return [int(part) if part.isdigit() else part for part in key.split(".")]


def check(account, state, own):
    """Every key has a place, every parameter a key, and layers keep their order."""
    assert (account.unused, account.missing, account.refused) == ({}, (), "")
    assert list(account.used) == list(state)
    assert account.num_classes == CLASSES
    targets = list(account.used.values())
    assert sorted(targets) == sorted(own)
    for group in ("features.", "main_layers.", "layer3.", "layer4."):
        layers = [account.used[key] for key in sorted(state, key=numbered) if key.startswith(group)]
        layers = [key for key in layers if key.startswith(("body.features.", "body.layer"))]
        assert layers == sorted(layers, key=numbered)


@pytest.mark.parametrize(("ours", "name", "method"), networks())
def test_every_published_key_has_its_place(tmp_path, ours, name, method):
    state = published(name, method)
    if method in METHODS:
        assert len(state) == COUNTS[name][METHODS.index(method)]
    with torch.device("meta"):
        own = BACKBONES.get(ours).build(CLASSES).state_dict()
    check(account_of(ours, saved(tmp_path, state)), state, own)


@pytest.mark.parametrize("last", ["fc", "conv"])
@pytest.mark.parametrize("ours", ["vgg16_gap", "vgg16_gap+tap"])
def test_every_key_of_rethinking_cam_has_its_place(tmp_path, ours, last):
    state = published("rethinking_cam", last)
    assert len(state) == 30
    with torch.device("meta"):
        own = BACKBONES.get(ours).build(CLASSES).state_dict()
    check(account_of(ours, saved(tmp_path, state, "model_state_dict", "")), state, own)


@pytest.mark.parametrize("method", ["acol", "spg", "adl"])
def test_a_file_of_these_keys_opens_as_weights(tmp_path, method):
    """Each parameter has the number that its key was given."""
    state, name = published("vgg16_gap", method), f"vgg16_gap+{method}"
    file = saved(tmp_path, state)
    network, account = open_backbone(name, weights=file), account_of(name, file)
    assert not network.needs_training
    own = network.state_dict()
    assert {key: float(own[ours].mean()) for key, ours in account.used.items()} == {
        key: float(tensor.flatten()[0]) for key, tensor in state.items()
    }

"""Checkpoints named as wsolevaluation names them: every key used, forward and maps equal to an independent reading."""

import pytest
import torch
from torch.nn import functional as F

from cambench.baselines.backbones import account_of, open_backbone
from cambench.baselines.backbones.checkpoint_layouts import layout_of
from cambench.baselines.cams import CAMS, Evidence
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import BACKBONES, HEADS
from cambench.baselines.weights import WeightsError
from cambench.baselines.wsol import acol_map, class_map
from cambench.protocol import PROTOCOLS

CLASSES = 5


def theirs(name):
    """A random state dict of one of our networks under wsolevaluation's keys, at a scale that keeps maps alive."""
    with torch.device("meta"):
        own = BACKBONES.get(name).build(CLASSES).state_dict()
    names = sorted(layout_of(name).renamed, key=lambda pair: -len(pair[1]))
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, tensor in own.items():
        old, new = next((old, new) for old, new in names if key.startswith(new) and "sigmoid" not in new)
        shape = tuple(tensor.shape)
        if key.startswith("heads.") and len(shape) == 2 and not old.startswith("fc"):
            shape = (*shape, 1, 1)
        fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 100
        value = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
        state[old + key.removeprefix(new)] = value.abs() if key.endswith("running_var") else value
    return state


def saved(tmp_path, state):
    file = tmp_path / "last_checkpoint.pth.tar"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    return file


def conv(state, name, x, relu=True):
    x = F.conv2d(
        x,
        state[f"{name}.weight"].double(),
        state[f"{name}.bias"].double(),
        padding=state[f"{name}.weight"].shape[-1] // 2,
    )
    return x.relu() if relu else x


def scaled(m):
    low, high = m.amin((-2, -1), keepdim=True), m.amax((-2, -1), keepdim=True)
    return (m - low) / (high - low)


BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.tensor(
        [1, 4]
    )


def test_vgg_acol(tmp_path, images):
    state, (x, label) = theirs("vgg16_gap+acol"), images
    net = open_backbone("vgg16_gap+acol", weights=saved(tmp_path, state)).double()
    assert not net.needs_training
    features = x
    for number, block in enumerate(BLOCKS):
        for layer in block:
            features = conv(state, f"features.{layer}", features)
        features = F.max_pool2d(features, 3, 2 if number < 4 else 1, 1)
    features = F.avg_pool2d(features, 3, 1, 1)

    def branch(which, given):
        for layer in (0, 2):
            given = conv(state, f"classifier_{which}.{layer}", given)
        return conv(state, f"classifier_{which}.4", given, relu=False)

    a = branch("A", features)
    with torch.no_grad():
        torch.testing.assert_close(net(x), a.mean((2, 3)), rtol=1e-10, atol=1e-12)
    attention = scaled(a[[0, 1], label])
    b = branch("B", features * (attention < 0.7)[:, None])
    expected = torch.maximum(attention, scaled(b[[0, 1], label]))
    torch.testing.assert_close(acol_map(net, x, label), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("last", "pooling"), [("fc", "tap"), ("conv", "gap")])
def test_rethinking_cam(tmp_path, images, last, pooling):
    """One chain of layers, ``main_layers``; the classifier is a linear layer or a 1×1 convolution; TAP of 0.1."""
    plain, (x, label) = theirs("vgg16_gap"), images
    names = (("conv6.", "main_layers.30."), ("features.", "main_layers."), ("fc.", f"{last}."))
    state = {}
    for key, value in plain.items():
        old, new = next(pair for pair in names if key.startswith(pair[0]))
        state[new + key.removeprefix(old)] = value
    weight, bias = state[f"{last}.weight"].double(), state[f"{last}.bias"].double()
    if last == "conv":
        state["conv.weight"] = state["conv.weight"][:, :, None, None]
    file = tmp_path / "checkpoint_best.pth"
    torch.save({"epoch": 3, "num_step": 7, "model_state_dict": state}, file)
    name = "vgg16_gap+tap" if pooling == "tap" else "vgg16_gap"
    account = account_of(name, file)
    assert (account.unused, account.missing, account.refused) == ({}, (), "")
    assert "does not say how it pools: vgg16_gap reads it with global average pooling" in account.notes[0]
    features = x
    for number, block in enumerate(BLOCKS):
        for layer in block:
            features = conv(state, f"main_layers.{layer}", features)
        features = F.max_pool2d(features, 2, 2) if number < 4 else features
    features = conv(state, "main_layers.30", features)
    counted = (features > features.amax((2, 3), keepdim=True) * (0.1 if pooling == "tap" else -1)).double()
    pooled = (features * counted).sum((2, 3)) / counted.sum((2, 3)).clamp_min(1)
    maps = torch.einsum("cn,bnpq->bcpq", weight, features)[[0, 1], label]
    nwc = torch.einsum("cn,bnpq->bcpq", weight.clamp_min(0), features)[[0, 1], label]
    for dtype, rtol in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        net = open_backbone(name, weights=file).to(dtype)
        with torch.no_grad():
            own, logits = net.features(x.to(dtype)), net(x.to(dtype))
        torch.testing.assert_close(logits, (pooled @ weight.T + bias).to(dtype), rtol=rtol, atol=rtol)
        for spec, expected in (("softmax", maps), ("softmax_clamped", nwc)):
            evidence = Evidence(own, net.head(), label)
            found = score_map(CAMS.get("cam"), evidence, HEADS.get(spec), PROTOCOLS.get("rethinking-cam"))
            torch.testing.assert_close(found, expected.to(dtype), rtol=rtol, atol=rtol * float(expected.abs().max()))


def test_vgg_spg(tmp_path, images):
    state, (x, label) = theirs("vgg16_gap+spg"), images
    net = open_backbone("vgg16_gap+spg", weights=saved(tmp_path, state)).double()
    features = x
    for block in BLOCKS[:3]:
        for layer in block:
            features = conv(state, f"features.{layer}", features)
        features = F.max_pool2d(features, 2, 2)
    for stage, pool in (("SPG_A_1", True), ("SPG_A_2", False), ("SPG_A_3", False)):
        for layer in (0, 2, 4) if stage != "SPG_A_3" else (0, 2):
            features = conv(state, f"{stage}.{layer}", features)
        if pool:
            features = F.max_pool2d(features, 3, 2, 1)
    maps = conv(state, "SPG_A_4", features, relu=False)
    with torch.no_grad():
        torch.testing.assert_close(net(x), maps.mean((2, 3)), rtol=1e-10, atol=1e-12)
        own = class_map(net, net.features(x), label)
    torch.testing.assert_close(own, maps[[0, 1], label], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50+acol", "resnet50+spg", "inception_v3_gap+acol", "inception_v3_gap+spg"])
def test_every_key_has_a_place(tmp_path, name):
    state = theirs(name)
    account = account_of(name, saved(tmp_path, state))
    assert (account.unused, account.missing, account.refused) == ({}, (), "")
    assert len(account.used) == len(state)


def test_layers_without_parameters_shift_numbers(tmp_path):
    state = theirs("resnet50+adl")
    moved = {}
    for key, value in state.items():
        parts = key.split(".")
        shift = {"layer3": (0,), "layer4": (0, 2)}.get(parts[0], ())
        if shift:
            parts[1] = str(int(parts[1]) + sum(int(parts[1]) > at for at in shift))
        moved[".".join(parts)] = value
    account = account_of("resnet50+adl", saved(tmp_path, moved))
    assert (account.unused, account.missing, account.refused) == ({}, (), "")
    assert account.used["layer4.3.conv1.weight"] == "body.layer4.2.conv1.weight"


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    file = saved(tmp_path, theirs("resnet50+spg"))
    with pytest.raises(WeightsError, match=r"spg trained the network that they are of; open them as resnet50\+spg"):
        open_backbone("resnet50", weights=file)

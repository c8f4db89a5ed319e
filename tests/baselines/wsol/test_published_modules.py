"""ResNet-50 and InceptionV3 of wsolevaluation's ACoL, SPG and ADL, read from their own keys by plain functions."""

import pytest
import torch
from torch.nn import functional as F

from cambench.baselines.backbones import open_backbone
from cambench.baselines.backbones.checkpoint_layouts import layout_of
from cambench.baselines.contracts import BACKBONES
from cambench.baselines.wsol import acol_map, class_map

CLASSES, LABELS = 5, [1, 4]
STAGES = {"layer1": (3, 1), "layer2": (4, 2), "layer3": (6, 2), "layer4": (3, 1)}
"""Blocks and stride of ResNet-50's stages; the last one keeps its size."""
SHIFTS = {"layer3": (0,), "layer4": (0, 2)}
"""Blocks of ResNet-50 behind which ADL's layers take a number."""


class Published:
    """A random state dict under wsolevaluation's keys, and its layers as functions in float64."""

    def __init__(self, name):
        with torch.device("meta"):
            own = BACKBONES.get(name).build(CLASSES).state_dict()
        names = sorted(layout_of(name).renamed, key=lambda pair: -len(pair[1]))
        generator = torch.Generator().manual_seed(0)
        self.state = {}
        for key, tensor in own.items():
            old, new = next((old, new) for old, new in names if key.startswith(new) and "sigmoid" not in new)
            shape = tuple(tensor.shape)
            if key.startswith("heads.") and len(shape) == 2 and not old.startswith("fc"):
                shape = (*shape, 1, 1)
            fan = tensor[0].numel() if tensor.ndim > 1 else 100
            value = torch.randn(shape, generator=generator) * (2 / max(fan, 1)) ** 0.5
            if key.endswith("running_var") or (tensor.ndim == 1 and key.endswith("weight")):
                value = 1 + value.abs()
            self.state[old + key.removeprefix(new)] = value

    def saved(self, folder, rename=lambda key: key):
        file = folder / "last_checkpoint.pth.tar"
        torch.save({"state_dict": {f"module.{rename(k)}": v for k, v in self.state.items()}}, file)
        return file

    def of(self, key):
        return self.state[key].double()

    def conv(self, name, x, stride=1, padding=None):
        weight = self.of(f"{name}.weight")
        bias = self.of(f"{name}.bias") if f"{name}.bias" in self.state else None
        sides = tuple(s // 2 for s in weight.shape[-2:]) if padding is None else padding
        return F.conv2d(x, weight, bias, stride, sides)

    def norm(self, name, x, eps):
        parts = [self.of(f"{name}.{part}")[:, None, None] for part in ("running_mean", "running_var", "weight", "bias")]
        mean, variance, weight, bias = parts
        return (x - mean) / (variance + eps).sqrt() * weight + bias

    def acol(self, features):
        """The maps of A and B (B,C,P,Q) as functions of what they read."""

        def branch(which, x):
            for layer in (0, 2):
                x = self.conv(f"classifier_{which}.{layer}", x).relu()
            return self.conv(f"classifier_{which}.4", x)

        first = branch("A", features)
        attention = scaled(first[[0, 1], LABELS])
        second = branch("B", features * (attention < 0.7)[:, None])
        return first, torch.maximum(attention, scaled(second[[0, 1], LABELS]))


class ResNet(Published):
    def block(self, name, x, stride):
        y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x), 1e-5).relu()
        y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y, stride), 1e-5).relu()
        y = self.norm(f"{name}.bn3", self.conv(f"{name}.conv3", y), 1e-5)
        if f"{name}.downsample.0.weight" in self.state:
            x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride), 1e-5)
        return (x + y).relu()

    def features(self, x, names=lambda stage, number: f"{stage}.{number}"):
        x = F.max_pool2d(self.norm("bn1", self.conv("conv1", x, 2), 1e-5).relu(), 3, 2, 1)
        for stage, (count, stride) in STAGES.items():
            for number in range(count):
                x = self.block(names(stage, number), x, stride if number == 0 else 1)
        return x


class Inception(Published):
    def unit(self, name, x, stride=1, padding=None):
        return self.norm(f"{name}.bn", self.conv(f"{name}.conv", x, stride, padding), 1e-3).relu()

    def chain(self, prefix, names, x):
        for name in names:
            x = self.unit(f"{prefix}.{name}", x)
        return x

    def joined(self, stage, x, chains):
        pooled = F.avg_pool2d(x, 3, 1, 1)
        parts = [self.chain(stage, names, x) for names in chains]
        return torch.cat([*parts, self.unit(f"{stage}.branch_pool", pooled)], 1)

    def features(self, x):
        """Mixed_6e (B,768,P,Q)."""
        for name, stride, padding in (("1a", 2, 1), ("2a", 1, 0), ("2b", 1, 1)):
            x = self.unit(f"Conv2d_{name}_3x3", x, stride, padding)
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        x = self.unit("Conv2d_4a_3x3", self.unit("Conv2d_3b_1x1", x), 1, 0)
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        double = tuple(f"branch3x3dbl_{n}" for n in (1, 2, 3))
        for stage in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self.joined(stage, x, [("branch1x1",), ("branch5x5_1", "branch5x5_2"), double])
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        parts = [self.unit("Mixed_6a.branch3x3", x), self.chain("Mixed_6a", double, x), F.max_pool2d(x, 3, 1, 1)]
        x = torch.cat(parts, 1)
        seven = tuple(f"branch7x7_{n}" for n in (1, 2, 3))
        twice = tuple(f"branch7x7dbl_{n}" for n in (1, 2, 3, 4, 5))
        for stage in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self.joined(stage, x, [("branch1x1",), seven, twice])
        return x


def scaled(maps):
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low)


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def opened(name, file, dtype):
    net = open_backbone(name, weights=file).to(dtype)
    assert not net.needs_training
    return net


PRECISIONS = ((torch.float64, 1e-10), (torch.float32, 1e-5))


def near(found, expected, rtol):
    """Equal up to ``rtol`` of the largest value."""
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=rtol, atol=rtol * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(("base", "reading"), [("resnet50", ResNet), ("inception_v3_gap", Inception)])
def test_acol(tmp_path, images, base, reading):
    published = reading(f"{base}+acol")
    with torch.no_grad():
        first, expected = published.acol(published.features(images))
        for dtype, rtol in PRECISIONS:
            net = opened(f"{base}+acol", published.saved(tmp_path), dtype)
            near(net(images.to(dtype)), first.mean((2, 3)), rtol)
            if dtype == torch.float64:
                # In float32 a cell on the threshold may be erased or not.
                near(acol_map(net, images, torch.tensor(LABELS)), expected, rtol)


@pytest.mark.slow
@pytest.mark.parametrize(("base", "reading"), [("resnet50", ResNet), ("inception_v3_gap", Inception)])
def test_spg(tmp_path, images, base, reading):
    published = reading(f"{base}+spg")
    with torch.no_grad():
        if reading is ResNet:
            # Layer 3 is A1, its first block, and A2, the rest.
            def name(stage, number):
                if stage != "layer3":
                    return f"{stage}.{number}"
                return "SPG_A1.0" if number == 0 else f"SPG_A2.{number - 1}"

            maps = published.conv("SPG_A4", published.features(images, name))
        else:
            x = published.features(images)
            for layer in ("SPG_A3_1b.0", "SPG_A3_2b.0"):
                x = published.conv(layer, x).relu()
            maps = published.conv("SPG_A4", x)
        for dtype, rtol in PRECISIONS:
            net = opened(f"{base}+spg", published.saved(tmp_path), dtype)
            x = images.to(dtype)
            near(net(x), maps.mean((2, 3)), rtol)
            near(class_map(net, net.features(x), torch.tensor(LABELS)), maps[[0, 1], LABELS], rtol)


@pytest.mark.slow
def test_adl_of_resnet(tmp_path, images):
    """The network is plain at test time; in the file its blocks behind an attention layer have a higher number."""
    published = ResNet("resnet50+adl")

    def shifted(key):
        stage, _, rest = key.partition(".")
        if stage not in SHIFTS:
            return key
        number, _, rest = rest.partition(".")
        return f"{stage}.{int(number) + sum(int(number) > at for at in SHIFTS[stage])}.{rest}"

    with torch.no_grad():
        features = published.features(images)
        weight, bias = published.of("fc.weight"), published.of("fc.bias")
        for dtype, rtol in PRECISIONS:
            net = opened("resnet50+adl", published.saved(tmp_path, shifted), dtype)
            near(net.features(images.to(dtype)), features, rtol)
            near(net(images.to(dtype)), features.mean((2, 3)) @ weight.T + bias, rtol)

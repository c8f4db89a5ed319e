"""Each method's step against an independent float64 implementation on a tiny network, and the methods' properties."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cambench.baselines.backbones.split import SplitNetwork
from cambench.baselines.contracts import min_max_map
from cambench.baselines.heads.heads import GapLinear
from cambench.baselines.wsol import WSOL, apply_method, make_method
from cambench.baselines.wsol import spg as spg_module
from cambench.baselines.wsol.acol import acol_map
from cambench.baselines.wsol.adl import AttentionDropout
from cambench.baselines.wsol.cutmix import box_of
from cambench.baselines.wsol.wsol_method import WsolError
from cambench.bench.training.steps.training_method import Objective
from cambench.registry import UnknownNameError

CLASSES = 4


def tiny(name="tiny", seed=0):
    torch.manual_seed(seed)
    body = nn.Sequential()
    body.add_module("one", nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU()))
    body.add_module("two", nn.Sequential(nn.Conv2d(5, 6, 3, 1, 1), nn.ReLU()))
    return SplitNetwork(name, body, GapLinear(6, CLASSES), "body.two").double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(7)
    return torch.randn(4, 3, 12, 12, dtype=torch.float64, generator=generator), torch.tensor([0, 3, 1, 1])


def features_by_hand(net, images):
    """The body layer by layer."""
    one = F.conv2d(images, net.body.one[0].weight, net.body.one[0].bias, 2, 1).clamp_min(0)
    return one, F.conv2d(one, net.body.two[0].weight, net.body.two[0].bias, 1, 1).clamp_min(0)


def nll(logits, labels):
    """Cross entropy from its definition, an image at a time."""
    return torch.stack([torch.logsumexp(row, 0) - row[k] for row, k in zip(logits, labels.tolist(), strict=True)])


def same_step(method, net, images, targets, expected):
    """Loss and every gradient equal those of ``expected(net)``."""
    loss, logits, _ = Objective(net, method)(images, targets)
    names, parameters = zip(*net.named_parameters(), strict=True)
    ours = torch.autograd.grad(loss, parameters, allow_unused=True)
    wanted = expected(net)
    theirs = torch.autograd.grad(wanted, parameters, allow_unused=True)
    torch.testing.assert_close(loss, wanted, rtol=1e-10, atol=1e-12)
    for name, a, b in zip(names, ours, theirs, strict=True):
        assert a is not None, name
        assert b is not None, name
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12, msg=name)
    return logits


def linear(net, features):
    return features.mean((2, 3)) @ net.heads["softmax"].linear.weight.T + net.heads["softmax"].linear.bias


def test_plain_step(batch):
    net, (images, labels) = tiny(), batch
    same_step(
        make_method("cam"), net, images, labels, lambda n: nll(linear(n, features_by_hand(n, images)[1]), labels).mean()
    )


def test_hidden_cells(batch):
    images = torch.ones(50, 3, 10, 10)
    method = make_method({"name": "has", "grid_size": 4, "drop_rate": 0.3})
    torch.manual_seed(5)
    hidden, labels = method.change_batch(images, batch[1])
    assert labels is batch[1]
    torch.manual_seed(5)
    draws = torch.rand(50, 1, 3, 3)
    for i in range(50):
        for y in range(10):
            for x in range(10):
                kept = float(draws[i, 0, y // 4, x // 4] >= 0.3)
                assert hidden[i, :, y, x].tolist() == [kept] * 3
    assert 0.2 < 1 - hidden.mean().item() < 0.4


@pytest.mark.parametrize(("rate", "left"), [(0.0, 1.0), (1.0, 0.0)])
def test_rate_0_hides_nothing_and_1_everything(batch, rate, left):
    images, labels = batch
    hidden, _ = make_method({"name": "has", "drop_rate": rate}).change_batch(images, labels)
    torch.testing.assert_close(hidden, images * left, rtol=0, atol=0)


def test_cutmix_step_and_boxes(batch):
    net, (images, labels) = tiny(), batch
    method = make_method({"name": "cutmix", "beta": 0.7})
    torch.manual_seed(3)
    mixed, targets = method.change_batch(images, labels)
    torch.manual_seed(3)
    torch.rand(())
    pair = torch._standard_gamma(torch.tensor([0.7, 0.7], dtype=torch.float64))
    share = float(pair[0] / pair.sum())
    order = torch.randperm(4)
    side = math.sqrt(1 - share)
    half = int(12 * side) // 2
    x, y = int(torch.randint(12, ())), int(torch.randint(12, ()))
    expected = images.clone().numpy()
    inside = np.zeros((12, 12), bool)
    for row in range(12):
        for column in range(12):
            if x - half <= column < x + half and y - half <= row < y + half:
                inside[row, column] = True
                expected[:, :, row, column] = images[order, :, row, column].numpy()
    assert inside.any()
    np.testing.assert_array_equal(mixed.numpy(), expected)
    left = 1 - inside.mean()
    assert targets[:, 2].tolist() == pytest.approx([left] * 4)
    assert targets[:, 1].tolist() == labels[order].tolist()

    def loss(n):
        logits = linear(n, features_by_hand(n, mixed)[1])
        weight = targets[0, 2].double()
        return (weight * nll(logits, labels) + (1 - weight) * nll(logits, labels[order])).mean()

    same_step(method, net, mixed, targets, loss)


def test_a_box_of_share_1_is_empty_and_the_loss_plain(batch):
    left, top, right, bottom = box_of(1.0, 12, 12)
    assert (right - left) * (bottom - top) == 0
    net, (images, labels) = tiny(), batch
    method = make_method({"name": "cutmix", "probability": 0.0})
    mixed, targets = method.change_batch(images, labels)
    assert torch.equal(mixed, images)
    assert targets[:, 2].tolist() == [1.0] * 4
    torch.testing.assert_close(method.loss(net, mixed, targets)[0], make_method("cam").loss(net, images, labels)[0])


@pytest.mark.parametrize("drop", [True, False])
def test_adl_step(batch, drop):
    net, (images, labels) = tiny(), batch
    method = make_method(
        {"name": "adl", "drop_rate": float(drop), "threshold": 0.6, "layers": ["body.one", "body.two"]}
    )
    apply_method(net, method)
    assert net.name == "tiny+adl"
    net.train()

    def weigh(features):
        out = []
        for one in features:
            attention = one.mean(0)
            weight = (attention < 0.6 * attention.max()).double() if drop else 1 / (1 + (-attention).exp())
            out.append(one * weight)
        return torch.stack(out)

    def loss(n):
        one = F.conv2d(images, n.body.one[0].weight, n.body.one[0].bias, 2, 1).clamp_min(0)
        two = F.conv2d(weigh(one), n.body.two[0].weight, n.body.two[0].bias, 1, 1).clamp_min(0)
        return nll(linear(n, weigh(two)), labels).mean()

    same_step(method, net, images, labels, loss)
    plain = tiny()
    net.eval()
    assert torch.equal(net(images), plain(images)), "the identity in evaluation"


def test_adl_draws_once_a_layer_and_batch():
    layer, hook = nn.Identity(), AttentionDropout(0.25, 0.5)
    features = torch.rand(3, 4, 5, 5)
    torch.manual_seed(0)
    dropped = sum(bool((hook(layer, None, features) == 0).any()) for _ in range(400))
    assert 60 < dropped < 140


def erased_by_hand(net, trunk, features, labels, threshold):
    """Trunk without the cells of each image that A's map of its label covers."""
    weight, bias = net.heads["softmax"].linear.weight, net.heads["softmax"].linear.bias
    out = []
    for one, full, k in zip(trunk, features, labels.tolist(), strict=True):
        one_map = sum(weight[k, i] * full[i] for i in range(len(full))) + bias[k]
        scaled = ((one_map - one_map.min()) / (one_map.max() - one_map.min())).detach()
        out.append(one * (scaled < threshold))
    return torch.stack(out)


def acol_net(threshold=0.6):
    net = tiny()
    method = make_method({"name": "acol", "threshold": threshold})
    apply_method(net, method)
    return net.double(), method


def conv_relu_twice(layers, x):
    x = F.conv2d(x, layers[0].weight, layers[0].bias, 1, 1).clamp_min(0)
    return F.conv2d(x, layers[2].weight, layers[2].bias, 1, 1).clamp_min(0)


def test_acol_step(batch):
    (net, method), (images, labels) = acol_net(), batch

    def loss(n):
        _, trunk = features_by_hand(n, images)
        first = conv_relu_twice(n.body.branch_a, trunk)
        erased = erased_by_hand(n, trunk, first, labels, 0.6)
        assert (erased == 0).sum() > (trunk == 0).sum()
        b = n.branches["b"]
        second = F.conv2d(conv_relu_twice(b, erased), b[4].weight, b[4].bias).mean((2, 3))
        return nll(linear(n, first), labels).mean() + nll(second, labels).mean()

    logits = same_step(method, net, images, labels, loss)
    net.eval()
    torch.testing.assert_close(logits, net(images))


def test_acol_above_1_erases_nothing(batch):
    (net, method), (images, labels) = acol_net(1.5), batch
    trunk = net.body[:-1](images)
    second = net.branches["b"](trunk).mean((2, 3))
    expected = nll(net(images), labels).mean() + nll(second, labels).mean()
    torch.testing.assert_close(Objective(net, method)(images, labels)[0], expected)


def test_acol_map_is_the_maximum_of_both(batch):
    (net, _), (images, _) = acol_net(), batch
    net.eval()
    target = torch.tensor([2, 2, 0, 1])
    with torch.no_grad():
        trunk = net.body[:-1](images)
        first = net.body.branch_a(trunk)
        erased = erased_by_hand(net, trunk, first, target, 0.6)
        a = torch.stack(
            [
                F.conv2d(f, net.heads["softmax"].linear.weight[:, :, None, None], net.heads["softmax"].linear.bias)[k]
                for f, k in zip(first, target.tolist(), strict=True)
            ]
        )
        b = torch.stack([m[k] for m, k in zip(net.branches["b"](erased), target.tolist(), strict=True)])
        scaled = [(m - m.amin((1, 2), True)) / (m.amax((1, 2), True) - m.amin((1, 2), True)) for m in (a, b)]
    torch.testing.assert_close(acol_map(net, images, target), torch.maximum(*scaled), rtol=1e-10, atol=1e-12)


def bce_by_hand(logits, attention, high, low):
    """Mean of the cross entropies over the pixels that count, a image at a time."""
    terms = []
    for one, guide in zip(logits, attention.detach(), strict=True):
        limit = high if int((guide > high).sum()) >= 30 else 0.7 * float(guide.max())
        wanted = torch.full_like(guide, 255)
        wanted[guide > limit] = 1
        wanted[guide < low] = 0
        chosen = wanted < 255
        p = torch.sigmoid(one[chosen])
        terms.append(-(wanted[chosen] * p.log() + (1 - wanted[chosen]) * (1 - p).log()))
    return torch.cat(terms).mean()


def test_spg_step(batch, monkeypatch):
    places = spg_module._Places(("body.one", 5), ("body.two", 6), 7, 3)
    monkeypatch.setitem(spg_module.PLACES, "tiny", places)
    net, (images, labels) = tiny(), batch
    thresholds = {"high_1": 0.999, "low_1": 0.1, "high_2": 0.5, "low_2": 0.45, "high_3": 0.51, "low_3": 0.5}
    method = make_method({"name": "spg", **thresholds})
    apply_method(net, method)
    net.double()

    def up(x):
        return F.interpolate(x, (224, 224), mode="bilinear", align_corners=False)[:, 0]

    def branch(layers, x):
        x = F.conv2d(x, layers[0].weight, layers[0].bias, 1, 1).clamp_min(0)
        return x if len(layers) == 2 else F.conv2d(x, layers[2].weight, layers[2].bias)

    def loss(n):
        one, two = features_by_hand(n, images)
        shared = n.branches["shared"]
        b1, b2 = (up(branch(shared, branch(n.branches[k], x))) for k, x in (("b1", one), ("b2", two)))
        c = up(branch(n.branches["c"], two))
        weight, bias = n.heads["softmax"].linear.weight, n.heads["softmax"].linear.bias
        maps = up(
            torch.stack(
                [(weight[k] @ f.flatten(1) + bias[k]).view(f.shape[1:]) for f, k in zip(two, labels, strict=True)]
            )[:, None]
        ).detach()
        scaled = torch.stack([(m - m.min()) / (m.max() - m.min()) for m in maps])
        assert ((scaled > 0.999).sum((1, 2)) < 30).any(), "an image with fewer than 30 pixels above the threshold"
        s1, s2 = torch.sigmoid(b1), torch.sigmoid(b2)
        return (
            nll(linear(n, two), labels).mean()
            + bce_by_hand(b2, scaled, 0.999, 0.1)
            + bce_by_hand(b1, s2, 0.5, 0.45)
            + bce_by_hand(c, (s1 + s2) / 2, 0.51, 0.5)
        )

    same_step(method, net, images, labels, loss)


def test_a_constant_map_is_zero():
    assert not min_max_map(torch.full((2, 3, 3), 4.0)).any()


def test_half_precision_losses_are_float32(batch):
    method = make_method("cam", label_smoothing=0.1)
    loss = method.cross_entropy(torch.zeros(4, 3, dtype=torch.bfloat16), torch.tensor([0, 1, 2, 0]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("method", ["adl", "spg"])
def test_a_network_without_known_layers_is_refused(method):
    with pytest.raises(WsolError, match=f"{method} cannot change tiny: it knows the layers of vgg16_gap"):
        apply_method(tiny(), make_method(method))


def test_bad_parameters_and_names():
    with pytest.raises(
        WsolError,
        match=r"method adl: drop_rate: .*less than or equal to 1$",
    ):
        make_method({"name": "adl", "drop_rate": 2})
    with pytest.raises(WsolError, match="method has: grid: no such field; did you mean 'grid_size'"):
        make_method({"name": "has", "grid": 2})
    with pytest.raises(UnknownNameError, match="did you mean 'adl'"):
        make_method("adll")
    with pytest.raises(WsolError, match="adl cannot change tiny: it has no layer 'body.three'"):
        apply_method(tiny(), make_method({"name": "adl", "layers": ["body.three"]}))


@pytest.mark.parametrize("name", WSOL.names())
def test_searched_parameters_exist_and_their_ends_are_allowed(name):
    kind = WSOL.get(name)
    for parameter, ends in kind.search.items():
        for end in ends:
            if isinstance(end, str):
                assert end in list(kind.search)[: list(kind.search).index(parameter)], "drawn before"
                end = kind.search[end][1]
            make_method({"name": name, parameter: end})

"""Eq. 9 and Eq. 10 of the paper on heads whose maps can be worked out by hand, and on a shipped network."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.contracts import HEADS
from cambench.baselines.heads.heads import GapLinear, MlpHead, ModuleHead
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.paper.distortion import (
    ShiftedHead,
    all_channels,
    classifier_inputs,
    distort,
    one_channel,
    weight_unit,
)
from cambench.bench.paper.sensitivity import measure_sensitivity
from cambench.protocol import Protocol

PROTOCOL = Protocol(name="small", size=16)


class ConvThenMean(nn.Module):
    """A 1×1 convolution as classifier, then the mean: linear, but no GAP + linear head to the eye."""

    def __init__(self, after=None):
        super().__init__()
        self.classifier, self.after = nn.Conv2d(4, 3, 1), after or nn.Identity()

    def forward(self, features):
        return self.after(self.classifier(features)).mean((-2, -1))


def head_of(kind):
    torch.manual_seed(1)
    if kind == "gap":
        return GapLinear(4, 3)
    if kind == "mlp":
        return MlpHead(4, 3, (6,), pool=2)
    return ModuleHead(ConvThenMean(nn.Tanh() if kind == "tanh" else None), 3, ("classifier",))


class Toy(nn.Module):
    """Stands in for a backbone: two heads over given features."""

    name, num_classes, nonnegative = "toy", 3, True

    def __init__(self, kind="gap"):
        super().__init__()
        self.heads = nn.ModuleDict({"softmax": head_of(kind), "sigmoid": head_of(kind)})
        self.head_kind = self.heads["softmax"].kind
        with torch.no_grad():
            for p in self.heads["sigmoid"].parameters():
                p.mul_(-1.5)
        self.requires_grad_(False).eval()

    def head(self, branch="softmax"):
        return self.heads[branch]


@pytest.fixture
def features():
    return torch.rand(5, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def normalised_by_hand(raw):
    """ReLU, bicubic resize by OpenCV, min-max of maps (B,3,3)."""
    found = []
    for m in raw.clamp_min(0).numpy():
        up = cv2.resize(m, (16, 16), interpolation=cv2.INTER_CUBIC)
        found.append((up - up.min()) / (up.max() - up.min()) if up.max() > up.min() else np.zeros((16, 16)))
    return torch.tensor(np.stack(found))


@pytest.mark.parametrize("delta", [0.3, 5.0, -0.4])
def test_eq_9_moves_the_map_by_delta_times_the_channel(features, delta):
    toy = Toy()
    linear = toy.head("softmax").linear
    weight, bias = linear.weight.double(), linear.bias.double()
    shifts = one_channel(torch.tensor([2]), torch.tensor([0.0, delta]), 4)
    found = distort(toy, features, torch.zeros(5), shifts, CAMS.get("cam"), HEADS.get("softmax"), PROTOCOL)
    probabilities = (features.mean((-2, -1)) @ weight.T + bias).softmax(1)
    torch.testing.assert_close(found.probabilities, probabilities.expand(2, -1, -1), atol=1e-12, rtol=0)
    plain = torch.einsum("bn,bnpq->bpq", weight[probabilities.argmax(1)], features)
    torch.testing.assert_close(found.maps[0], normalised_by_hand(plain), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.maps[1], normalised_by_hand(plain + delta * features[:, 2]), atol=1e-6, rtol=0)


def test_eq_10_empties_the_softmax_map(features):
    found = distort(
        Toy(), features, torch.zeros(5), all_channels(torch.tensor([0.0, 50.0]), 4), CAMS.get("gradcam"),
        HEADS.get("softmax"), PROTOCOL,
    )  # fmt: skip
    assert found.maps[0].amax() == 1
    assert found.maps[1].amax() == 0
    torch.testing.assert_close(found.probabilities[1], found.probabilities[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["gap", "mlp", "conv"])
def test_a_shift_moves_all_logits_alike_and_its_gradient_is_that_of_the_moved_logit(features, kind):
    head = head_of(kind).eval()
    inputs = classifier_inputs(head, features)
    shifts = torch.randn(3, inputs.shape[1], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    shifted = ShiftedHead(head, shifts)
    rows = features.repeat(3, 1, 1, 1)
    plain = head.double()(features)
    expected = torch.cat([plain + (inputs @ v)[:, None] for v in shifts])
    torch.testing.assert_close(shifted(rows), expected)
    target = torch.tensor([0, 1, 2, 0, 1]).repeat(3)
    leaf = features.clone().requires_grad_()
    moved = (
        head(leaf).gather(1, target[:5, None]).sum() + (ShiftedHead(head, shifts[:1])(leaf) - head(leaf))[:, 0].sum()
    )
    (gradient,) = torch.autograd.grad(moved, leaf)
    torch.testing.assert_close(Evidence(rows, shifted, target).gradients[:5], gradient)


@pytest.mark.parametrize("kind", ["gap", "mlp", "conv"])
def test_the_head_itself_stays_as_it_is_and_lends_its_parameters(kind):
    head = head_of(kind).double()
    before = {k: v.clone() for k, v in head.state_dict().items()}
    inputs = {"gap": 4, "mlp": 6, "conv": 4}[kind]
    shifted = ShiftedHead(head, torch.ones(2, inputs))
    assert {p.data_ptr() for p in shifted.net.parameters()} <= {p.data_ptr() for p in head.parameters()}
    assert torch.equal(shifted.stack.weight[1], shifted.stack.weight[0])
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())
    assert head.state_dict().keys() == before.keys()


@pytest.mark.parametrize("name", ["sigmoid", "sigmoid_signed"])
@pytest.mark.parametrize("kind", ["gap", "mlp"])
def test_the_sigmoid_branch_is_unaffected(features, name, kind):
    toy = Toy(kind)
    inputs = classifier_inputs(toy.head("softmax"), features).shape[1]
    for shifts in (
        one_channel(torch.tensor([1]), torch.tensor([0.0, 1, 100]), inputs),
        all_channels(torch.arange(3), inputs),
    ):
        found = distort(toy, features, torch.zeros(5), shifts, CAMS.get("gradcam++"), HEADS.get(name), PROTOCOL)
        torch.testing.assert_close(found.maps, found.maps[:1].expand_as(found.maps), atol=1e-12, rtol=0)
        torch.testing.assert_close(found.scores, found.scores[:1].expand_as(found.scores), atol=1e-12, rtol=0)


def test_the_same_shift_of_the_sigmoid_branch_is_no_symmetry(features):
    toy = Toy()
    shifts = one_channel(torch.tensor([0]), torch.tensor([0.0, 2.0]), 4)
    found = distort(
        toy, features, torch.zeros(5), shifts, CAMS.get("gradcam"), HEADS.get("sigmoid"), PROTOCOL, shifted="sigmoid"
    )
    logits = toy.head("sigmoid").double()(features)
    torch.testing.assert_close(found.scores[1], (logits + 2 * features[:, 0].mean((-2, -1))[:, None]).sigmoid())
    assert (found.scores[1] - found.scores[0]).abs().amax() > 0.05
    torch.testing.assert_close(found.probabilities[1], found.probabilities[0], atol=1e-12, rtol=0)


def test_labels_decide_where_the_protocol_says_so(features):
    protocol = Protocol(name="label", size=16, target="label")
    labels = torch.tensor([2, 0, 1, 2, 0])
    shifts = torch.zeros(2, 4)
    found = distort(Toy(), features, labels, shifts, CAMS.get("cam"), HEADS.get("softmax"), protocol)
    raw = torch.einsum("bn,bnpq->bpq", Toy().head("softmax").linear.weight.double()[labels], features)
    torch.testing.assert_close(found.maps[1], normalised_by_hand(raw), atol=1e-6, rtol=0)


def test_rates_are_means_over_images_channels_and_pixels(features, monkeypatch):
    monkeypatch.setattr("cambench.bench.paper.sensitivity.BUDGET", 8 * 4 * 9 * 3)
    toy, cam = Toy(), CAMS.get("gradcam")
    found = measure_sensitivity(
        toy, features, torch.zeros(5), cam, PROTOCOL, channels=0, deltas=(0.0, 1.0), collapse=(0.0, 2.0)
    )
    unit = float(toy.head("softmax").linear.weight.double().std(correction=0))
    assert found.unit == weight_unit(toy.head("softmax")) == pytest.approx(unit)

    def moved(shift):
        maps = distort(toy, features, torch.zeros(5), shift[None], cam, HEADS.get("softmax"), PROTOCOL).maps[0]
        return 100 * (maps - plain).abs().mean((1, 2))

    plain = distort(toy, features, torch.zeros(5), torch.zeros(1, 4), cam, HEADS.get("softmax"), PROTOCOL).maps[0]
    by_channel = torch.stack([moved(unit * torch.eye(4, dtype=torch.float64)[i]) for i in range(4)])
    rates = {(r.head, r.equation, r.shifted): r for r in found.rates}
    nine = rates["softmax", "Eq. 9", "softmax"]
    assert nine.percent == pytest.approx(float(by_channel.mean()))
    assert nine.interval.low < nine.percent < nine.interval.high
    assert found.channel == int(by_channel.mean(1).argmax())
    ten = rates["softmax", "Eq. 10", "softmax"]
    assert ten.percent == pytest.approx(float(moved(torch.full((4,), -unit, dtype=torch.float64)).mean()))
    assert all(
        r.percent == 0 and r.probability < 1e-12 for k, r in rates.items() if "sigmoid" in k[0] and k[2] == "softmax"
    )
    assert rates["sigmoid", "Eq. 9", "sigmoid"].score > 0.01
    curve = next(c for c in found.curves if (c.head, c.equation, c.shifted) == ("softmax", "Eq. 10", "softmax"))
    assert curve.change[0].abs().max() == 0
    assert 100 * float(curve.change[1].mean()) == pytest.approx(
        float(moved(torch.full((4,), -2 * unit, dtype=torch.float64)).mean())
    )


def test_an_mlps_clone_is_shifted_at_hidden_units_of_its_own(features):
    toy = Toy("mlp")
    found = measure_sensitivity(
        toy, features, torch.zeros(5), CAMS.get("gradcam"), PROTOCOL, channels=1, deltas=(0.0, 1.0), collapse=(0.0, 1.0)
    )
    units = {b: int(classifier_inputs(toy.head(b), features).mean(0).argmax()) for b in ("softmax", "sigmoid")}
    assert found.channel == units["softmax"] != units["sigmoid"]
    channels = {c.shifted: c.channel for c in found.curves if c.equation == "Eq. 9"}
    assert channels == units
    assert {c.channel for c in found.curves if c.equation == "Eq. 10"} == {None}


def test_a_head_that_bends_its_logits_is_found_out(features):
    with pytest.raises(RunError, match="not linear after its classifier"):
        measure_sensitivity(
            Toy("tanh"), features, torch.zeros(5), CAMS.get("gradcam"), PROTOCOL,
            channels=1, deltas=(0.0, 1.0), collapse=(0.0, 1.0),
        )  # fmt: skip


def test_what_cannot_be_measured_is_said(features):
    with pytest.raises(UsageError, match="choose another method"):
        distort(Toy(), features, torch.zeros(5), torch.zeros(1, 4), CAMS.get("rise"), HEADS.get("softmax"), PROTOCOL)
    two = ModuleHead(ConvThenMean(), 3, ("classifier", "classifier"))
    with pytest.raises(UsageError, match="no single linear classifier"):
        ShiftedHead(two, torch.zeros(1, 4))
    with pytest.raises(UsageError, match="the classifier has 4"):
        ShiftedHead(head_of("gap"), torch.zeros(1, 5))


def test_a_shipped_network_keeps_its_probabilities():
    network = open_backbone("slim_vgg")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = network.features(network.normalise(images))
    inputs = classifier_inputs(network.head("softmax"), features)
    shifts = one_channel(inputs.mean(0).argmax()[None], torch.tensor([0.0, 0.5, 10.0]), inputs.shape[1])
    found = distort(network, features, torch.zeros(2), shifts, CAMS.get("gradcam"), HEADS.get("softmax"), PROTOCOL)
    assert (found.probabilities - found.probabilities[:1]).abs().amax() < 1e-6
    assert (found.maps[2] - found.maps[0]).abs().mean() > 0.01

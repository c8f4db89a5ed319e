"""Networks as people bring them: what their forwards do, how their layers are named, against autograd by hand."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_network import HALF, evidence, pictures
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import cambench
from cambench.baselines.backbones import backbone_of
from cambench.baselines.backbones.timm.layout import UnsupportedNetworkError
from cambench.baselines.contracts import Backbone

IMAGES = pictures()


class Small(nn.Module):
    """Two convolutions and one linear layer."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(nn.Conv2d(3, 6, 3, 16, 1), nn.ReLU(), nn.Conv2d(6, 8, 1))
        self.fc = nn.Linear(8, classes)
        nn.init.normal_(self.fc.weight)

    def pooled(self, x: Tensor) -> Tensor:
        return F.relu(self.blocks(x)).mean((-2, -1))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.pooled(x))


def gradient_of(net: Backbone, images: Tensor = IMAGES) -> Tensor:
    return evidence(net, images).gradients


def by_hand(model: nn.Module, layer: nn.Module) -> Tensor:
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda m, given, out: kept.append(out))
    chosen = model.eval()(IMAGES).gather(1, torch.arange(2)[:, None]).sum()
    hook.remove()
    return torch.autograd.grad(chosen, kept[-1])[0]


@pytest.mark.parametrize(
    "layer", ["blocks[-1]", "blocks.-1", "model.blocks[2]", "net.blocks[-1]", "module.blocks.2", "again"]
)
def test_layers_are_named_as_in_the_code_that_people_have(layer: str) -> None:
    model = Small()
    model.again = model.blocks[-1]
    net = cambench.wrap(model=model, layer=layer, **HALF)
    assert net.feature_layer == "blocks.2"
    torch.testing.assert_close(gradient_of(net), by_hand(model, model.blocks[2]))


def test_a_list_of_one_layer_is_that_layer() -> None:
    model = Small()
    net = cambench.wrap(model=model, layer=[model.blocks[-1]], **HALF)  # type: ignore[typeddict-item]
    assert net.feature_layer == "blocks.2"


LAYERS: list[tuple[Any, str]] = [
    (["blocks", "fc"], "layer is a list of 2; give one layer, by its name or the module itself"),
    (4, "layer is a int 4; give one layer"),
    ("blocks[-4]", r"has no layer 'blocks\[-4\]'; nearest: blocks"),
    ("other.fc", "has no layer 'other.fc'; nearest: "),
    ("fc.spare", "layer fc.spare does not run in a forward, so it makes no map; one that runs is fc"),
]


@pytest.mark.parametrize(("layer", "said"), LAYERS)
def test_layers_that_are_none_are_refused_in_words(layer: Any, said: str) -> None:
    model = Small()
    model.fc.spare = nn.Identity()
    with pytest.raises(UnsupportedNetworkError, match=said):
        cambench.wrap(model=model, layer=layer, **HALF)


def returning(shape: Callable[[Small, Tensor], Any]) -> nn.Module:
    return type("Returning", (Small,), {"forward": lambda self, x: shape(self, x)})()


NO_LOGITS: dict[str, Callable[[Small, Tensor], Any]] = {
    r"its 8 values an image are what fc \(Linear\) reads, features and no scores.*logits=lambda out": lambda s, x: (
        s.pooled(x),
        s.fc(s.pooled(x)),
    ),
    r"returns a tuple with 0 \(2, 8, 14, 14\), 1 \(2, 5\), and the first .* logits=lambda out: out\[1\]": lambda s, x: (
        s.blocks(x),
        Small.forward(s, x),
    ),
    r"it finds boxes: give score=": lambda s, x: [{"boxes": x[0, 0, :, :4], "scores": Small.forward(s, x)[0]}],
    "no gradient comes back from what it returns.*no_grad": lambda s, x: torch.no_grad()(Small.forward)(s, x),
    "no gradient comes back from what it returns.*detaches": lambda s, x: Small.forward(s, x).detach(),
    "other logits for the same images the second time": lambda s, x: Small.forward(s, F.dropout(x, 0.5, True)),
    "are 1 for every image, as a softmax over one class is": lambda s, x: Small.forward(s, x)[:, :1].softmax(1),
}


@pytest.mark.parametrize("said", NO_LOGITS)
def test_what_a_forward_must_not_do_is_said(said: str) -> None:
    """Features before the logits were read as classes; tensors without a gradient ended in a traceback."""
    with pytest.raises(UnsupportedNetworkError, match=said):
        cambench.wrap(model=returning(NO_LOGITS[said]), layer="blocks", **HALF)


def test_a_plain_object_that_holds_logits() -> None:
    net = cambench.wrap(
        model=returning(lambda s, x: SimpleNamespace(logits=Small.forward(s, x))), layer="blocks", **HALF
    )
    torch.testing.assert_close(net(IMAGES), Small().eval()(IMAGES))


def test_autocast_inside_a_forward() -> None:
    """It ended in *BFloat16 did not match Float*."""

    def rounded(self: Small, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return Small.forward(self, x)  # type: ignore[no-any-return]

    net = cambench.wrap(model=returning(rounded), layer="blocks", **HALF)
    assert net(IMAGES).dtype == net.features(IMAGES).dtype == torch.float32
    torch.testing.assert_close(gradient_of(net), _gradient(), rtol=0.02, atol=1e-3)


def _gradient() -> Tensor:
    model = Small()
    return by_hand(model, model.blocks)


@pytest.mark.parametrize("classes", [1, 5])
def test_a_network_that_squeezes_a_single_image(classes: int) -> None:
    class Squeezing(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze()  # type: ignore[no-any-return]

    net = cambench.wrap(model=Squeezing(classes), layer="blocks", **HALF)
    both, alone = net(IMAGES), net(IMAGES[:1])
    torch.testing.assert_close(alone, both[:1])
    assert both.shape == (2, max(2, classes))


def test_switches_that_recompute_in_the_backward_are_off_in_the_copy() -> None:
    class Saving(Small):
        use_checkpoint = True

        def forward(self, x: Tensor) -> Tensor:
            maps = checkpoint(self.blocks, x, use_reentrant=False) if self.use_checkpoint else self.blocks(x)
            return self.fc(F.relu(maps).mean((-2, -1)))  # type: ignore[no-any-return]

    model = Saving()
    net = cambench.wrap(model=model, layer="blocks.2", **HALF)
    torch.testing.assert_close(gradient_of(net), by_hand(model, model.blocks[2]))
    assert model.use_checkpoint


def test_channels_are_those_of_the_convolution_that_is_called_first() -> None:
    class Gated(Small):
        def __init__(self) -> None:
            super().__init__()
            blocks, self.gate = self._modules.pop("blocks"), nn.Conv2d(8, 8, 1)
            self.blocks = blocks

        def pooled(self, x: Tensor) -> Tensor:
            maps = self.blocks(x)
            return (maps * self.gate(maps).sigmoid()).mean((-2, -1))

    model = Gated()
    assert next(m for m in model.modules() if isinstance(m, nn.Conv2d)) is model.gate
    net = cambench.wrap(model=model, layer="blocks")
    torch.testing.assert_close(gradient_of(net), by_hand(model, model.blocks))

    class Grey(Small):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x.repeat(1, 3, 1, 1))

    grey = cambench.wrap(model=Grey(), layer="blocks", mean=(0.5,), std=(0.5,))
    torch.testing.assert_close(grey(IMAGES[:, :1]), Small().eval()(IMAGES[:, :1].repeat(1, 3, 1, 1)))
    with pytest.raises(
        UnsupportedNetworkError, match=re.escape("1 channel: give mean=(m,) and std=(s,), one value each")
    ):
        cambench.wrap(model=nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(5)), "lazy layers have no shape yet"),
        (lambda: nn.Sequential(torch.jit.script(nn.Conv2d(3, 8, 3)), nn.Conv2d(8, 2, 1)), "part 0 is compiled"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
def test_what_cannot_be_read_is_said_before_its_channels(make: Callable[[], nn.Module], said: str) -> None:
    for read in (lambda net: backbone_of(net), lambda net: cambench.wrap(model=net)):
        with pytest.raises(UnsupportedNetworkError, match=said):
            read(make())


def test_precision_is_spoken_of_once_a_network() -> None:
    """A network that is read by hooks was spoken of twice."""

    class Kept(Small):
        def forward(self, x: Tensor) -> Any:
            return {"logits": super().forward(x), "maps": x}

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        backbone_of(Kept().half())
    assert [str(w.message) for w in said] == ["Kept holds float16 parameters: everything is computed on a float32 copy"]


def test_a_configuration_says_that_labels_are_independent() -> None:
    model = Small()
    model.config = SimpleNamespace(problem_type="multi_label_classification")  # type: ignore[assignment]
    net = cambench.wrap(model=model, layer="blocks", **HALF)
    assert (net.multi_label, net.activation) == (True, "sigmoid")

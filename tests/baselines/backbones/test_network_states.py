"""Networks in any state that people have them in: the same numbers, and the user's own network as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from small_network import HALF, Small, evidence, pictures
from torch import Tensor, nn

import cambench
from cambench.baselines.backbones import backbone_of
from cambench.baselines.backbones.timm.layout import UnsupportedNetworkError
from cambench.baselines.cams import CAMS, raw_map


def attributes(model: nn.Module) -> list[Any]:
    """All of a network that anybody may look at."""
    found: list[Any] = []
    for name, module in model.named_modules():
        found += [name, type(module), module.training, module.__dict__.get("inplace"), sorted(module.__dict__)]
        found += [
            list(getattr(module, kind).items()) for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        ]
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        found += [key, id(tensor), tensor.dtype, tensor.device, tensor.requires_grad]
        found.append(tensor.detach().double().tolist())
    return found


def made_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return Small()


def with_hooks() -> nn.Module:
    model = Small()
    model.body.register_forward_hook(lambda m, given, out: None)
    model.body.register_full_backward_hook(lambda m, given, out: None)
    model.norm.register_forward_pre_hook(lambda m, given: None)
    return model


def locked() -> nn.Module:
    """An attribute that no copy can be made of, and a tensor with a graph."""
    import threading

    model = Small()
    model.lock = threading.Lock()  # type: ignore[assignment]
    model.seen = model.fc(torch.ones(1, 8))  # type: ignore[assignment]
    return model


class Compiled(nn.Module):
    """What ``torch.compile`` returns, without its compiler, whose import takes longer than all tests here."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._orig_mod = net

    def forward(self, x: Tensor) -> Any:
        return self._orig_mod(x)


STATES: dict[str, Callable[[], nn.Module]] = {
    "plain": Small,
    "training": lambda: Small().train(),
    "frozen": lambda: Small().requires_grad_(False),
    "half": lambda: Small().half(),
    "bfloat16": lambda: Small().bfloat16(),
    "double": lambda: Small().double(),
    "compiled": lambda: Compiled(Small()),
    "data parallel": lambda: nn.DataParallel(Small()),
    "both": lambda: nn.DataParallel(Compiled(Small())),
    "inference mode": made_in_inference_mode,
    "hooks of others": with_hooks,
    "what cannot be copied": locked,
}


@pytest.mark.filterwarnings("ignore:.*holds .* parameters")
@pytest.mark.parametrize("how", ["layer", "parts", "found"])
@pytest.mark.parametrize("state", list(STATES))
def test_states_that_networks_are_in(state: str, how: str) -> None:
    model = STATES[state]()
    before = attributes(model)
    inner = getattr(model, "module", model)
    inner = getattr(inner, "_orig_mod", inner)
    if how == "layer":
        net = cambench.wrap(name="mine", model=model, layer="body", **HALF)
    elif how == "parts":
        net = cambench.wrap(
            name="mine", features=inner.maps, head=lambda f: inner.fc(f.mean((-2, -1))), model=model, **HALF
        )
    else:
        net = backbone_of(model, **HALF)
    found = evidence(net, pictures())
    assert attributes(model) == before
    tolerance = 0.05 if state in ("half", "bfloat16") else 1e-4
    torch.testing.assert_close(found.logits, Small().eval()(pictures()), rtol=tolerance, atol=tolerance)
    assert found.gradients.dtype == torch.float32
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in net.parameters())
    assert raw_map(CAMS.get("gradcam"), found, clamp=False).abs().max() > 0


@pytest.mark.slow
def test_compiled_networks() -> None:
    model = torch.compile(Small(), backend="eager")
    whole = Small()
    whole.compile(backend="eager")
    for given in (model, whole, nn.Sequential(torch.compile(Small(), backend="eager"))):  # type: ignore[arg-type]
        for net in (cambench.wrap(name="mine", model=given, **HALF), backbone_of(given, **HALF)):  # type: ignore[arg-type]
            torch.testing.assert_close(net(pictures()), Small().eval()(pictures()))
            assert evidence(net, pictures()).gradients.abs().max() > 0


def test_another_precision_is_said_once() -> None:
    with pytest.warns(
        UserWarning, match="mine holds float16 parameters: everything is computed on a float32 copy"
    ) as said:
        cambench.wrap(name="mine", model=Small().half(), layer="body", **HALF)
    assert len(said) == 1


def test_inside_inference_mode() -> None:
    with torch.inference_mode():
        net = cambench.wrap(model=Small(), layer="body", **HALF)
    assert evidence(net, pictures()).gradients.abs().max() > 0


@contextmanager
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def inside(context: Any) -> tuple[Tensor, Tensor]:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    model = Small()
    with context:
        found = cambench.explain(model, picture, layer="body", mean=HALF["mean"], std=HALF["std"])
    return found.low_res, found.score


@pytest.mark.parametrize("state", ["inference mode", "no gradient", "autocast", "double by default"])
def test_the_callers_torch_changes_no_number(state: str) -> None:
    contexts = {
        "inference mode": torch.inference_mode(),
        "no gradient": torch.no_grad(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
        "double by default": double_by_default(),
    }
    for there, here in zip(inside(contexts[state]), inside(nullcontext()), strict=True):
        assert torch.equal(there, here)


def test_whatever_a_network_raises_is_one_sentence() -> None:
    exported = torch.export.export(Small().eval(), (pictures(1),)).module()
    for read in (lambda: cambench.wrap(model=exported, **HALF), lambda: backbone_of(exported, **HALF)):
        with pytest.raises(UnsupportedNetworkError, match=r"GraphModule is not supported: .*(give|fails)"):
            read()


def test_a_hook_that_changes_the_output_is_part_of_the_network() -> None:
    model = Small()
    model.fc.register_forward_hook(lambda m, given, out: out * 2)
    for net in (cambench.wrap(model=model, layer="body", **HALF), backbone_of(model, **HALF)):
        torch.testing.assert_close(net(pictures()), 2 * Small().eval()(pictures()))


@pytest.mark.parametrize("how", ["layer", "parts"])
def test_a_hook_that_only_looks_is_left_behind(how: str) -> None:
    model, looked = Small(), list[int]()
    model.body.register_forward_hook(lambda m, given, out: looked.append(1))
    if how == "layer":
        net = cambench.wrap(model=model, layer="body", **HALF)
    else:
        net = cambench.wrap(
            name="mine", features=model.maps, head=lambda f: model.fc(f.mean((-2, -1))), model=model, **HALF
        )
    looked.clear()
    net(pictures())
    assert not looked


def quantised() -> nn.Module:
    model = Small()
    model.fc.weight = nn.Parameter(model.fc.weight.to(torch.int8), requires_grad=False)
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "compiled by torch.jit .*its layers can neither be read nor copied; give the network in Python": (
        lambda: torch.jit.trace(Small().eval(), pictures()),
        {},
    ),
    "its part 0 is compiled by torch.jit": (
        lambda: nn.Sequential(torch.jit.trace(Small().eval(), pictures()), nn.Identity()),
        {"layer": None},
    ),
    "fc .quantised.*give the network before it was quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(Small(), {nn.Linear}),
        {},
    ),
    "its logits are int64; give real numbers": (Small, {"logits": lambda o: o.long()}),
    "its logits are complex64; give real numbers": (Small, {"logits": lambda o: o.to(torch.complex64)}),
    "is on the device meta and holds no values": (lambda: Small().to("meta"), {}),
    "fc.weight .torch.int8.: integers have no gradient": (quantised, {}),
    "its lazy layers have no shape yet; run it on one image first": (lambda: nn.Sequential(nn.LazyConv2d(3, 3)), {}),
    "it has no layer 'bodi'; nearest: body": (Small, {"layer": "bodi"}),
    "the layer fc returns a tensor of shape .2, 5. for two images; expected a feature map": (Small, {"layer": "fc"}),
    "wrap takes no layers; it takes mean": (Small, {"layers": "body"}),
    "logits= and score= are two ways": (Small, {"logits": lambda o: o, "score": lambda o: o}),
    "score=… needs layer=": (Small, {"layer": None, "score": lambda o: o}),
    "logits fails on what it returns, .2, 5. .IndexError": (Small, {"logits": lambda o: o[:, :, 0]}),
    "its logits are .2, 3, 64, 64. for two images, expected .2,C.; for maps of classes or boxes give score=": (
        lambda: nn.Conv2d(3, 3, 1),
        {"layer": None, "input_size": 64},
    ),
    "std .0.0, 1.0, 1.0.: expected finite numbers, of std above zero": (Small, {"std": (0, 1, 1)}),
    "takes images of 2 channels: give mean=… and std=…, 2 values each": (lambda: Small(channels=2), {"mean": None}),
    "3 class names for 5 logits": (Small, {"class_names": "abc"}),
}


@pytest.mark.parametrize("message", list(REFUSED))
def test_refused_in_words(message: str) -> None:
    make, options = REFUSED[message]
    given: dict[str, Any] = {"model": make(), "layer": "body", **HALF, **options}
    if given["mean"] is None:
        given["std"] = None
    with pytest.raises(UnsupportedNetworkError, match=message.replace("=… and std=…", "=.* and std=.*")):
        cambench.wrap(name="mine", **given)

"""Checkpoints of other code: any one prefix, containers, NaN in a weight, names of another package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.weights.file_names import renaming, without_prefix
from cambench.baselines.weights.weight_files import WeightsError, apply_state, load_state


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


PREFIXES = (
    "",
    "_orig_mod.",
    "model.",
    "module.",
    "net.",
    "encoder.",
    "module._orig_mod.",
    "student.backbone.",
    "a.b.c.",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_one_prefix_that_makes_all_names_fit(prefix: str, tmp_path: Path) -> None:
    state = {prefix + k: v + 1 for k, v in net().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pth")
    filled = net()
    apply_state(filled, load_state(tmp_path / "w.pth"), "w.pth")
    assert all(torch.equal(filled.state_dict()[k.removeprefix(prefix)], v) for k, v in state.items())


def test_a_prefix_that_a_network_has_itself_stays() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 2)

    own = Named()
    apply_state(own, {"model.weight": torch.ones(2, 2), "model.bias": torch.zeros(2)}, "w")
    assert own.model.weight.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(("body", "head"), [("encoder.", "head."), ("backbone.", ""), ("m.b.", "m.classifier.fc.")])
def test_two_prefixes_that_make_all_names_fit(body: str, head: str) -> None:
    own = net()
    wanted = {k: v + 1 for k, v in own.state_dict().items()}
    apply_state(own, {(body if k.startswith("0") else head) + k: v for k, v in wanted.items()}, "w.pth")
    assert all(torch.equal(own.state_dict()[k], v) for k, v in wanted.items())


def test_prefixes_that_give_a_name_twice_are_refused_with_the_remedy() -> None:
    once = net().state_dict()
    both = {f"{p}{k}": v for p in ("", "teacher.") for k, v in once.items()}
    with pytest.raises(WeightsError, match="what begins with teacher. is the same network once more: keep the tensors"):
        apply_state(net(), both, "w.pth")
    some = {("a." if k.startswith("0") else "b.") + k: v for k, v in once.items()} | {"c.projector": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"missing: .*unexpected: .*the nearest renaming begins"):
        apply_state(net(), some, "w.pth")


def test_without_names_only_wrappers_are_dropped() -> None:
    state = {"module._orig_mod.model.a": torch.zeros(1)}
    assert list(without_prefix(state)) == ["model.a"]
    assert list(without_prefix(state, {"a"}.__contains__)) == ["a"]


def containers(state: dict[str, Tensor]) -> dict[str, object]:
    """What several packages write around the same weights."""
    return {
        "timm": {"epoch": 3, "arch": "x", "state_dict": state, "state_dict_ema": state, "optimizer": {"state": {}}},
        "timm, averaged alone": {"epoch": 3, "state_dict_ema": state},
        "Lightning": {"state_dict": {f"model.{k}": v for k, v in state.items()}, "optimizer_states": [{}], "epoch": 1},
        "wsolevaluation": {
            "architecture": "resnet50",
            "epoch": 9,
            "state_dict": {f"module.{k}": v for k, v in state.items()},
        },
        "two deep": {"model": {"state_dict": state}},
        "of no known name": {"my_weights": state, "optimizer": {"param_groups": {"lr": 1}}, "step": 7},
    }


@pytest.mark.parametrize("kind", list(containers({})))
def test_containers(kind: str, tmp_path: Path) -> None:
    state = {k: v + 1 for k, v in net().state_dict().items()}
    torch.save(containers(state)[kind], tmp_path / "w.pth")
    filled = net()
    apply_state(filled, load_state(tmp_path / "w.pth"), "w.pth")
    assert torch.equal(filled[0].weight, state["0.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(value: float) -> None:
    state = net().state_dict()
    state["2.bias"][1] = value
    before = net()
    with pytest.raises(WeightsError, match=r"w\.pth: NaN or infinite values in 2\.bias"):
        apply_state(before, state, "w.pth")
    assert torch.isfinite(before[2].bias).all()


def test_names_of_another_package_are_told_with_the_nearest_renaming(tmp_path: Path) -> None:
    """``_conv_stem`` is how another package calls timm's ``conv_stem``."""
    ours = open_backbone("efficientnet_lite0", pretrained=False).state_dict()
    theirs = {}
    for key, tensor in ours.items():
        if not key.startswith("heads.softmax."):
            theirs["_" + key.removeprefix("model.")] = tensor
    theirs |= {"_fc.weight": ours["heads.softmax.linear.weight"], "_fc.bias": ours["heads.softmax.linear.bias"]}
    torch.save(theirs, tmp_path / "lite0.pth")
    with pytest.raises(WeightsError) as caught:
        open_backbone("efficientnet_lite0", weights=tmp_path / "lite0.pth")
    assert "nearest renaming begins _conv_stem.weight -> model.conv_stem.weight" in str(caught.value)


def test_no_renaming_is_invented() -> None:
    own = {"a.weight": torch.zeros(2, 3)}
    assert renaming(["a.weight"], {"b.weight": torch.zeros(3, 3)}, own) == ""
    assert renaming(["a.weight"], {"b.bias": torch.zeros(2, 3)}, own) == ""
    assert "b.weight -> a.weight" in renaming(["a.weight"], {"b.weight": torch.zeros(2, 3)}, own)


def test_what_lies_beside_the_networks_prefix_is_told_and_not_read() -> None:
    """A Lightning module's loss and metrics, and averaged weights, stand beside its network."""
    own = net()
    wanted = {k: v + 1 for k, v in own.state_dict().items()}
    file = {f"model.{k}": v for k, v in wanted.items()} | {"criterion.weight": torch.ones(3)}
    file |= {f"ema_model.{k}": v - 5 for k, v in wanted.items()}
    with pytest.warns(UserWarning, match=r"w.ckpt: model. is read, and criterion.weight, ema_model.* beside it is not"):
        apply_state(own, file, "w.ckpt")
    assert all(torch.equal(own.state_dict()[k], v) for k, v in wanted.items())
    with pytest.raises(WeightsError, match=r"unexpected: extra.weight"):
        apply_state(net(), {f"model.{k}": v for k, v in wanted.items()} | {"model.extra.weight": torch.ones(1)}, "w")


def test_a_network_that_is_there_twice_is_refused() -> None:
    both = {f"{p}.{k}": v for p in ("encoder_q", "encoder_k") for k, v in net().state_dict().items()}
    with pytest.raises(WeightsError, match=r"there 2 times, under encoder_q., encoder_k.: keep the tensors of one"):
        apply_state(net(), both | {"queue": torch.zeros(2)}, "w.pth")


def test_adapters_are_named() -> None:
    file = {"base_model.model." + k.replace("2.", "2.base_layer."): v for k, v in net().state_dict().items()}
    with pytest.raises(WeightsError, match="of a network with adapters .PEFT.; save the state_dict of net.merge"):
        apply_state(net(), file, "w.pth")


def test_files_are_read_by_what_is_in_them(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "torch.safetensors")
    assert load_state(tmp_path / "torch.safetensors").keys() == net().state_dict().keys()
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    with pytest.raises(WeightsError, match=r"w.npz: holds arrays of NumPy; save them by save_file"):
        load_state(tmp_path / "w.npz")

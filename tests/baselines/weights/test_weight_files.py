"""Weights files: round trips, hostile and damaged files, keys that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from cambench.baselines.heads.heads import GapLinear
from cambench.baselines.weights.weight_files import (
    WeightsError,
    apply_state,
    load_metadata,
    load_state,
    save_state,
    weights_digest,
)

STATE = {"linear.weight": torch.arange(6.0).view(2, 3), "linear.bias": torch.tensor([0.5, -1])}


def test_safetensors_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "w.safetensors"
    save_state(file, STATE, {"command": "cambench train …", "seed": "0"})
    found = load_state(file)
    assert all(torch.equal(found[k], v) for k, v in STATE.items())
    assert load_metadata(file) == {"command": "cambench train …", "seed": "0"}
    assert [p.name for p in file.parent.iterdir()] == ["w.safetensors"], "no temporary file is left"


def test_save_accepts_non_contiguous_tensors(tmp_path: Path) -> None:
    save_state(tmp_path / "w.safetensors", {"a": torch.arange(6.0).view(2, 3).T}, {})
    assert torch.equal(load_state(tmp_path / "w.safetensors")["a"], torch.arange(6.0).view(2, 3).T)


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_state(file, STATE, {})
    before = file.read_bytes()
    with pytest.raises(TypeError):
        save_state(file, STATE, {"seed": 0})  # type: ignore[dict-item]
    assert file.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_files_are_unwrapped(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state: object = {prefix + k: v for k, v in STATE.items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    assert load_state(tmp_path / "w.pth").keys() == STATE.keys()


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "torch_legacy", "pickle"])
def test_hostile_pickle_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    target, file = tmp_path / "ran", tmp_path / "w.pth"
    payload = {"state_dict": STATE, "callback": Bomb(target)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsError, match="not plain weights") as caught:
        load_state(file)
    assert not target.exists()
    assert str(file) in str(caught.value)
    pickle.loads(pickle.dumps(Bomb(target)))
    assert target.exists(), "the bomb works, so the refusal above means something"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "not plain weights, holds a list"),
        ({}, "not plain weights"),
        ({"a": torch.zeros(1), "lr": 0.1}, "no tensors: lr"),
    ],
)
def test_other_objects_are_refused(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=words):
        load_state(tmp_path / "w.pt")


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    save_state(tmp_path / "a.safetensors", STATE, {})
    torch.save(STATE, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        whole = (tmp_path / name).read_bytes()
        for size in (0, 5, len(whole) // 2):
            (tmp_path / name).write_bytes(whole[:size])
            with pytest.raises(WeightsError, match=name):
                load_state(tmp_path / name)
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "passwd").write_text("root:x:0:0:root:/root:/bin/bash")  # torch's unpickler raises IndexError
    for name in ("text.pth", "passwd", "nowhere.pth"):
        with pytest.raises(WeightsError, match=name):
            load_state(tmp_path / name)


def test_apply_is_strict_and_names_every_key() -> None:
    head = GapLinear(3, 2)
    before = weights_digest(head)
    wrong = {"linear.weight": torch.zeros(4, 3), "extra": torch.zeros(1)}
    with pytest.raises(WeightsError) as caught:
        apply_state(head, wrong, "w.pth")
    message = str(caught.value)
    for part in ("w.pth", "missing: linear.bias", "unexpected: extra", "linear.weight (4, 3), expected (2, 3)"):
        assert part in message
    assert weights_digest(head) == before, "a network that was refused weights keeps its own"


def test_apply_casts_and_forgives_batch_counters() -> None:
    net = nn.BatchNorm1d(2)
    state = {k: v.half() for k, v in nn.BatchNorm1d(2).state_dict().items() if k != "num_batches_tracked"}
    state["weight"] = torch.tensor([0.5, 2], dtype=torch.float16)
    apply_state(net, state, "w")
    assert net.weight.dtype == torch.float32
    assert net.weight.tolist() == [0.5, 2]


def test_digest_sees_every_bit_and_name() -> None:
    head = GapLinear(3, 2)
    head.load_state_dict(STATE)
    digest = weights_digest(head)
    assert digest == weights_digest(STATE) == weights_digest(dict(reversed(STATE.items())))
    assert digest != weights_digest({**STATE, "linear.bias": torch.tensor([0.5, -1.0000001])})
    assert digest != weights_digest({"linear.weight": STATE["linear.weight"], "linear.b": STATE["linear.bias"]})
    assert digest != weights_digest({**STATE, "linear.weight": STATE["linear.weight"].view(3, 2)})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html>404</html>", "holds no weights, but text that begins '<html>404</html>'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "a pointer of Git LFS"),
    ],
)
def test_what_a_failed_download_leaves_is_said(tmp_path: Path, data: bytes, said: str) -> None:
    """It was said to run code of its author."""
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        load_state(tmp_path / "w.pth")


def test_safetensors_under_another_name_are_read(tmp_path: Path) -> None:
    save_state(tmp_path / "w.safetensors", {"a": torch.ones(3)}, {})
    (tmp_path / "w.safetensors").rename(tmp_path / "w.pth")
    assert torch.equal(load_state(tmp_path / "w.pth")["a"], torch.ones(3))


def test_what_is_no_plain_weight_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(3)}, "out": nn.ReLU()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not plain weights \(it holds a torch\.nn\.\S+ReLU\)"):
        load_state(tmp_path / "w.pth")

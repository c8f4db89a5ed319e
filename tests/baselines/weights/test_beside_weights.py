"""What lies beside the weights is read where it is a value; anything that would run code is refused."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import json
import os
import pathlib
import random
import sys
import types
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cambench.baselines.weights.weight_files import WeightsError, apply_state, load_state

STATE = {"a": torch.tensor([1.0, 2.0])}


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


BESIDE: dict[str, Any] = {
    "arguments": argparse.Namespace(lr=0.1, out=Path("runs"), started=datetime.datetime(2024, 1, 2, 3, 4)),
    "numpy's scalars": [np.float64(71.5), np.int64(3), np.float16(1), np.uint8(2), np.bool_(True), np.str_("a")],
    "arrays": {"f": np.ones((2, 3)), "i": np.arange(3), "names": np.array(["x", "y"]), "any": np.array([{}, None])},
    "paths": [Path("a"), pathlib.PurePosixPath("b"), pathlib.PureWindowsPath("c:/d")],
    "default mappings": [collections.defaultdict(kind, a=1) for kind in (list, dict, int, float, set)],
    "other containers": [collections.Counter("aab"), collections.OrderedDict(a=1), {1}, frozenset({1}), (1, None)],
    "a queue": collections.deque([1, 2], maxlen=3),
    "dates": [datetime.date(2024, 2, 29), datetime.timedelta(1), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)],
    "numbers": [decimal.Decimal("1.5"), range(3), slice(1, 2), 1j, 2**80],
    "names": [uuid.UUID(int=3), types.SimpleNamespace(x=1), b"x", bytearray(b"x")],
    "generators": [random.getstate(), np.random.get_state(), torch.get_rng_state()],  # noqa: NPY002
    "torch's": [torch.float16, torch.device("cpu"), torch.Size([1]), np.dtype("float32")],
}


@pytest.mark.parametrize("kind", list(BESIDE))
@pytest.mark.parametrize("zipped", [True, False])
def test_values_beside_the_weights(kind: str, zipped: bool, tmp_path: Path) -> None:
    """Issue 15: only arguments and five scalars of NumPy were read."""
    weights = {f"module.{name}": STATE["a"] for name in "abcdefg"}
    held = {"state_dict": weights, "hyper_parameters": {"x": BESIDE[kind]}, "epoch": 3}
    torch.save(held, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = load_state(tmp_path / "a.pth")
    assert {k: v.tolist() for k, v in state.items()} == {name: [1.0, 2.0] for name in "abcdefg"}


@pytest.fixture
def libraries() -> Iterator[types.ModuleType]:
    """Lightning's and OmegaConf's classes of configuration while a file is written."""
    parsing, config = types.ModuleType("pytorch_lightning.utilities.parsing"), types.ModuleType("omegaconf.dictconfig")
    names = ("pytorch_lightning", "pytorch_lightning.utilities", parsing.__name__, "omegaconf", config.__name__)
    for module, kind in (
        (parsing, type("AttributeDict", (dict,), {"__module__": parsing.__name__})),
        (config, type("DictConfig", (), {"__module__": config.__name__})),
    ):
        setattr(module, kind.__name__, kind)
    before = {n: sys.modules.get(n) for n in names}
    sys.modules.update({n: types.ModuleType(n) for n in names} | {m.__name__: m for m in (parsing, config)})
    holder = types.ModuleType("holder")
    holder.AttributeDict, holder.DictConfig = parsing.AttributeDict, config.DictConfig  # type: ignore[attr-defined]
    yield holder
    for name, module in before.items():
        sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)


def test_configurations_of_packages_that_are_not_there(libraries: types.ModuleType, tmp_path: Path) -> None:
    config = libraries.DictConfig()
    config.content = {"lr": 1}
    torch.save(
        {"state_dict": STATE, "hparams": libraries.AttributeDict(lr=1), "config": config, "n": 1}, tmp_path / "a.ckpt"
    )
    assert list(load_state(tmp_path / "a.ckpt")) == ["a"]


@pytest.mark.parametrize(
    "value", [argparse.Namespace(x=Hostile()), np.array([Hostile()]), collections.defaultdict(eval), {"f": os.system}]
)
def test_code_beside_the_weights_is_refused(value: object, tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "args": value}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="would run code"):
        load_state(tmp_path / "a.pth")


def test_arrays_texts_and_empty_entries_as_weights(tmp_path: Path) -> None:
    held = {"a": np.array([1.5, 2.5], ">f4"), "n": np.array(3), "_extra_state": None, "arch": "r"}
    torch.save(held, tmp_path / "a.pth")
    state = load_state(tmp_path / "a.pth")
    assert {k: (v.dtype, v.tolist()) for k, v in state.items()} == {
        "a": (torch.float32, [1.5, 2.5]),
        "n": (torch.int64, 3),
    }


def test_one_set_of_weights_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    averaged = {"a": torch.zeros(2)}
    torch.save({"model": STATE, "model_ema": averaged, "optimizer": {"m": torch.ones(3)}}, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=r"a\.pth: model is read, and model_ema is not"):
        assert load_state(tmp_path / "a.pth")["a"].tolist() == [1, 2]
    torch.save({"student": STATE, "teacher": averaged, "config": {"lr": 1}}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="holds 2 sets of weights: student, teacher; save the one that you mean"):
        load_state(tmp_path / "b.pth")


def test_an_index_gives_the_tensors_of_all_its_files(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    torch.save({"b": torch.zeros(1)}, tmp_path / "model-00002-of-00002.bin")
    index = tmp_path / "model.safetensors.index.json"
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.bin"}
    index.write_text(json.dumps({"weight_map": names}))
    assert {k: v.tolist() for k, v in load_state(index).items()} == {"a": [1], "b": [0]}
    for wrong, said in (
        ("../x", r"\.\./x; expected files beside it"),
        ("gone", "gone, of the 2 files .* are not beside"),
    ):
        index.write_text(json.dumps({"weight_map": names | {"b": wrong}}))
        with pytest.raises(WeightsError, match=said):
            load_state(index)
    index.write_text("[]")
    with pytest.raises(WeightsError, match="names no weights"):
        load_state(index)
    part = tmp_path / "model-00001-of-00002.safetensors"
    with pytest.raises(WeightsError, match=r"it is one of several files: give their index"):
        apply_state(torch.nn.Linear(1, 1), load_state(part), part)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; was the download or the copy cut off"),
        (b"\x1f\x8b\x08" + bytes(50), "is a compressed file; unpack it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "is HDF5"),
    ],
)
def test_other_files_are_called_what_they_are(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        load_state(tmp_path / "w.pth")


def test_archives_and_compiled_networks_are_called_what_they_are(tmp_path: Path) -> None:
    """They were refused with torch's advice to load them without its check."""
    for names, said in (
        (["w/a.npy", "w/b.npy"], r"archive of 2 files \(w/a.npy, w/b.npy\)"),
        (["n/code/f.py"], "torch.jit"),
    ):
        with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
            for name in names:
                archive.writestr(name, "x")
        with pytest.raises(WeightsError, match=said) as refused:
            load_state(tmp_path / "w.pth")
        assert "weights_only" not in str(refused.value)
    with pytest.raises(WeightsError, match="a folder; give the file"):
        load_state(tmp_path)

"""Arguments and numpy scalars beside the weights are read; anything that would run code is refused."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cambench.baselines.weights.weight_files import WeightsError, load_state


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


def test_arguments_and_numpy_scalars_beside_the_weights(tmp_path: Path) -> None:
    beside = {"args": argparse.Namespace(lr=0.1), "best": np.float64(71.5), "epoch": np.int64(3)}
    torch.save({"state_dict": {"module.a": torch.tensor([1.0, 2.0])}, **beside}, tmp_path / "a.pth")
    state = load_state(tmp_path / "a.pth")
    assert {k: v.tolist() for k, v in state.items()} == {"a": [1.0, 2.0]}


def test_code_beside_the_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": argparse.Namespace(x=Hostile())}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="would run code"):
        load_state(tmp_path / "a.pth")

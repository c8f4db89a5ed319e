"""MATLAB files: cells and objects of strange files are data, never code; damage is a message."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from cambench.datasets.disk.matfiles import read_mat
from cambench.datasets.schema import DatasetError


class _Mark:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_called_mat_is_not_opened(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    pickle.loads(pickle.dumps(_Mark(mark)))
    assert mark.exists(), "the stand-in works"
    mark.unlink()
    with pytest.raises(DatasetError, match=r"cars_meta\.mat: not a readable MATLAB file"):
        read_mat(pickle.dumps(_Mark(mark)), "cars_meta.mat")
    assert not mark.exists()


def test_objects_in_cells_stay_data() -> None:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"class_names": np.array(["__import__('os')", "b"], dtype=object)})
    assert read_mat(buffer.getvalue(), "x.mat")["class_names"].tolist() == ["__import__('os')", "b"]


@pytest.mark.parametrize("length", [0, 10, 127, 200])
def test_a_file_cut_anywhere(length: int) -> None:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"annotations": np.arange(100.0)})
    with pytest.raises(DatasetError, match="not a readable MATLAB file"):
        read_mat(buffer.getvalue()[:length], "x.mat")

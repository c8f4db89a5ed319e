"""MATLAB files: read as scipy reads them; cells and objects are data, never code; damage is a message."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from fuzzing import ended, examples, search
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cambench.datasets.disk import matfiles
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


def saved(variables: dict[str, object], compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


def same(found: object, expected: object) -> None:
    if isinstance(expected, np.ndarray) and expected.dtype.names:
        assert isinstance(found, np.ndarray)
        assert (found.dtype.names, found.shape) == (expected.dtype.names, expected.shape)
        for name in expected.dtype.names:
            same(found[name], expected[name])
    elif isinstance(expected, np.ndarray) and expected.dtype == object:
        assert isinstance(found, np.ndarray)
        assert found.shape == expected.shape
        for one, other in zip(found.reshape(-1), expected.reshape(-1), strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


words = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=1, max_size=8)
numbers: st.SearchStrategy[npt.NDArray[np.generic]] = arrays(
    st.sampled_from(["f8", "f4", "i4", "u1", "u2", "i8"]), array_shapes(min_dims=1, max_dims=3, max_side=3)
)
fields = st.dictionaries(st.sampled_from(["bbox_x1", "class", "fname"]), st.one_of(words, numbers), min_size=1)
values = st.one_of(
    words,
    numbers,
    fields,
    st.lists(words, min_size=1, max_size=4).map(lambda names: np.array(names, dtype=object)),
)


@examples(60, 3000)
def test_it_is_read_as_scipy_reads_it(examples: int) -> None:
    def check(value: object, compressed: bool) -> None:
        data = saved({"x": value}, compressed)
        same(read_mat(data, "x.mat")["x"], scipy.io.loadmat(io.BytesIO(data), squeeze_me=True)["x"])

    search(examples, check, value=values, compressed=st.booleans())


def test_the_published_files_are_read_as_scipy_reads_them(shared_data: Path) -> None:
    files = sorted(shared_data.rglob("*.mat"))
    assert files
    for file in files:
        found, expected = read_mat(file.read_bytes(), file.name), scipy.io.loadmat(file, squeeze_me=True)
        assert found
        for name, value in found.items():
            assert np.shape(value) == np.shape(expected[name])
            same(value[:50], expected[name][:50])


@examples(100, 20_000)
def test_any_damage_is_read_or_refused(examples: int) -> None:
    """scipy's reader ends the process at such files."""
    table = np.zeros(3, dtype=[("bbox_x1", object), ("class", object), ("fname", object)])
    table[:] = [(1.5, 2, "a.jpg"), (3, 4, "b.jpg"), (5, 6, "c.jpg")]
    data = saved({"annotations": table, "names": np.array(["cat", "dog"], object)})

    def check(edits: list[tuple[int, int]], cut: int) -> None:
        changed = bytearray(data[: len(data) - cut])
        for at, byte in edits:
            changed[at % len(changed)] = byte
        ended(lambda: read_mat(bytes(changed), "x.mat"))

    places = st.tuples(st.integers(0, len(data)), st.integers(0, 255))
    search(examples, check, edits=st.lists(places, min_size=1, max_size=4), cut=st.integers(0, 300))


def test_a_bomb_and_a_later_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matfiles, "LARGEST", 1 << 16)
    with pytest.raises(DatasetError, match="larger than any that is published"):
        read_mat(saved({"x": np.zeros(1 << 14)}, compressed=True), "x.mat")
    with pytest.raises(DatasetError, match=r"version 7\.3; save it with -v7"):
        read_mat(b"\x89HDF\r\n\x1a\n" + bytes(200), "x.mat")

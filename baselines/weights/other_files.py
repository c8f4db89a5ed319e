"""Files in the place of weights: what they are, in words; and weights in several files with an index."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from pathlib import Path

from ...text import some

_INDEX = ".index.json"


def shards_of(file: Path) -> list[Path]:
    """The files that an index of Hugging Face's (``model.safetensors.index.json``) names, beside it; none otherwise.

    Raises:
        ValueError: It is no such index, or names a file elsewhere or one that is not there.
    """
    if not file.name.endswith(_INDEX):
        return []
    try:
        names = sorted(set(json.loads(file.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it names no weights: expected a mapping weight_map of names to files") from None
    if odd := [str(n) for n in names if not isinstance(n, str) or Path(n).name != n or n in ("", ".", "..")]:
        raise ValueError(f"its weight_map names {some(odd, 3)}; expected files beside it")
    if absent := [n for n in names if not (file.parent / n).is_file()]:
        raise ValueError(f"{some(absent, 3)}, of the {len(names)} files that it names, are not beside it")
    return [file.parent / n for n in names]


def what_it_is(file: Path) -> str:
    """What a file that ``torch.load`` refuses is instead, and what to do; empty where that is not known."""
    with file.open("rb") as opened:
        start = opened.read(200)
    if not start:
        return "is empty; was the download or the copy cut off?"
    if start.startswith(b"version https://git-lfs"):
        return "holds no weights, but a pointer of Git LFS; fetch the file itself (git lfs pull)"
    if start.isascii() and all(b >= 32 or b in b"\t\r\n" for b in start):
        return f"holds no weights, but text that begins {start[:30].decode()!r}; was the download refused?"
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")):
        return "is a compressed file; unpack it, and give the file of weights in it"
    if start.startswith(b"\x89HDF"):
        return "is HDF5 (Keras and others); save the weights with PyTorch or as safetensors"
    return _archive(file)


def one_of_several(file: str) -> str:
    """That a file is a part of weights in several files, if its name says so; else empty."""
    part = re.search(r"-\d{5}-of-\d{5}\.\w+$", file)
    return f"; it is one of several files: give their index (…{_INDEX})" if part else ""


def _archive(file: Path) -> str:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        if any(n.endswith("/models/model.json") for n in names):
            return (
                "is a network of torch.export; save its weights alone: "
                "torch.save(dict(torch.export.load(FILE).state_dict), …)"
            )
        if any("/code/" in n or n.endswith("constants.pkl") for n in names):
            return (
                "is a network compiled by torch.jit; save its weights alone: "
                "torch.save(torch.jit.load(FILE).state_dict(), …)"
            )
        if file.suffix == ".npz":
            return "holds arrays of NumPy; save them by save_file(dict(numpy.load(FILE)), …) of safetensors.numpy"
        if not any(n.endswith("data.pkl") for n in names):
            return f"is an archive of {len(names)} files ({some(names, 3)}); unpack it, and give the file of weights"
    elif tarfile.is_tarfile(file):
        return "is a tar archive; unpack it, and give the file of weights in it"
    return ""

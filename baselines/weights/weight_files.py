"""Weights in files: plain tensors only, atomic writes, messages that name the keys that do not fit."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...atomic import atomic_path, remove_leftovers
from .file_names import State, renaming, some_names, without_prefix

_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "net", "state_dict_ema", "network", "weights")
"""Entries that hold the weights among others (epoch, optimiser), in the order in which they are looked for."""
_NOT_WEIGHTS = ("optim", "sched", "scaler", "loss", "criterion")


class WeightsError(ValueError):
    """Weights that cannot be read, are not plain tensors, or do not fit the network."""


def load_state(path: str | Path) -> State:
    """Tensors by name of a ``.safetensors`` file or a ``torch.save`` file, on the CPU.

    ``torch.save`` files are read with ``weights_only=True``: nothing in the file is executed. A wrapping
    ``{"state_dict": …}`` of timm, Lightning, wsolevaluation or others is opened, and the prefixes ``module.`` and
    ``_orig_mod.`` of data-parallel training and compilation are dropped; ``apply_state`` drops any other.

    Raises:
        WeightsError: The file is missing, damaged, or holds anything but tensors by name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise WeightsError(f"weights {file}: no such file")
    if file.suffix == ".safetensors" or _is_safetensors(file):
        try:
            return without_prefix(load_file(file))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"weights {file}: not a safetensors file ({error})") from error
    try:
        # torch 2.4 has no such context: there only plain tensors are read.
        allowing = getattr(torch.serialization, "safe_globals", nullcontext)
        with allowing(_harmless()):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if text := _text_in(file):
            raise WeightsError(f"weights {file}: holds no weights, but {text}") from error
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        held = f" (it holds a {named[1]})" if named else ""
        raise WeightsError(
            f"weights {file}: not plain weights{held}. Loading this file would run code of its author, so it is "
            "refused; save the tensors alone (safetensors, or torch.save of a state_dict)"
        ) from error
    except Exception as error:  # torch's unpickler raises anything on bytes that are no pickle
        raise WeightsError(f"weights {file}: damaged, or not written by torch.save ({error})") from error
    return without_prefix(_plain(loaded, file))


def _is_safetensors(file: Path) -> bool:
    """Whether a file is safetensors whatever it is called: eight bytes of a length, then JSON."""
    with file.open("rb") as opened:
        start = opened.read(10)
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < file.stat().st_size


def _text_in(file: Path) -> str:
    """What a text in the place of weights is, as failed downloads leave one; empty where it is no text."""
    with file.open("rb") as opened:
        start = opened.read(200)
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the file itself (git lfs pull)"
    if start and start.isascii() and all(b >= 32 or b in b"\t\r\n" for b in start):
        return f"text that begins {start[:30].decode()!r}; was the download refused?"
    return ""


def load_metadata(path: str | Path) -> dict[str, str]:
    """Metadata strings of a ``.safetensors`` file; empty where it has none or is of another kind."""
    if Path(path).suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: not a safetensors file ({error})") from error


def save_state(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata as safetensors: a temporary file beside ``path``, flushed, then renamed over it."""
    target = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    remove_leftovers(target)
    with atomic_path(target) as temporary:
        save_file(tensors, temporary, dict(metadata))
        # safetensors may write with the owner's rights alone; a weights file is for everyone who may read the folder.
        temporary.chmod(0o644)


def apply_state(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load ``state`` into ``module``: every key, no more, each of its shape. Values are cast to the module's dtypes.

    One prefix in front of all names is dropped where they fit then. BatchNorm's ``num_batches_tracked`` may be absent,
    as evaluation does not use it.

    Raises:
        WeightsError: Names the missing, unexpected and mis-shaped keys, with the nearest renaming where the names are
            another package's; values that are NaN or infinite.
    """
    own = module.state_dict()
    state = without_prefix(state, own.__contains__)
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    shaped = [
        f"{k} {tuple(state[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    problems = [
        f"{title}: {some_names(names)}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shaped))
        if names
    ]
    if problems:
        if missing and unexpected and (other := renaming(missing, state, own)):
            problems.append(other)
        raise WeightsError(f"weights {source} do not fit {_title(module)}. " + "; ".join(problems))
    check_values(state, source)
    module.load_state_dict(dict(state), strict=False)


def check_values(state: Mapping[str, Tensor], source: str | Path) -> None:
    """Raise ``WeightsError`` where a tensor is no dense real one, or holds NaN or infinity; the message names it."""
    odd = [k for k, t in state.items() if t.layout != torch.strided or t.is_quantized or t.is_complex() or t.is_meta]
    if odd:
        raise WeightsError(f"weights {source}: these are no dense real tensors: {some_names(odd)}")
    bad = [k for k, t in state.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise WeightsError(f"weights {source}: NaN or infinite values in {some_names(bad)}")


def weights_digest(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of a network's parameters and persistent buffers."""
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _harmless() -> list[Any]:
    """What training code keeps beside the weights and runs nothing when read: arguments and numpy's scalars."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    return [argparse.Namespace, scalar, np.dtype, *(type(np.dtype(kind)) for kind in kinds)]


def _plain(loaded: object, file: Path) -> State:
    opened = _opened(loaded)
    if not isinstance(opened, Mapping) or not opened:
        raise WeightsError(f"weights {file}: not plain weights, holds a {type(opened).__name__}; expected a state_dict")
    strange = [str(k) for k, v in opened.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if strange:
        raise WeightsError(f"weights {file}: not plain weights; these entries are no tensors: {some_names(strange)}")
    return dict(opened)


def _opened(loaded: object) -> object:
    """The weights in a container: under a known name, or the only entry of tensors that is no optimiser's."""
    while isinstance(loaded, Mapping):
        inner = {str(k): v for k, v in loaded.items() if isinstance(v, Mapping) and v}
        known = next((inner[k] for k in _WRAPPERS if k in inner), None)
        others = [v for k, v in inner.items() if not any(word in k.casefold() for word in _NOT_WEIGHTS)]
        if known is None and (len(others) != 1 or any(isinstance(v, Tensor) for v in loaded.values())):
            break
        loaded = others[0] if known is None else known
    return loaded


def _title(module: nn.Module) -> str:
    return str(getattr(module, "name", "") or type(module).__name__)

"""Weights in files: plain tensors only, atomic writes, messages that name the keys that do not fit."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...atomic import atomic_path, remove_leftovers
from ...home import expanded
from ...text import first_line
from .containers import weights_in
from .file_names import State, adapters, averaged, renaming, second_set, some_names, whole_sets, without_prefix
from .harmless import harmless
from .other_files import one_of_several, shards_of, what_it_is


class WeightsError(ValueError):
    """Weights that cannot be read, are not plain tensors, or do not fit the network."""


def load_state(path: str | Path) -> State:
    """Tensors by name of a ``.safetensors`` file or a ``torch.save`` file, on the CPU.

    ``torch.save`` files are read with ``weights_only=True``: nothing in the file is executed, and beside the weights
    may lie what ``harmless`` lists. A wrapping ``{"state_dict": …}`` of timm, Lightning, wsolevaluation or others is
    opened, and the prefixes ``module.`` and ``_orig_mod.`` of data-parallel training and compilation are dropped;
    ``apply_state`` drops any other. An index ``….index.json`` of several files gives the tensors of all.

    Raises:
        WeightsError: The file is missing, damaged, or holds anything but tensors by name.
    """
    file = expanded(path)
    if file.is_dir():
        raise WeightsError(f"weights {file}: a folder; give the file of weights in it")
    if not file.is_file():
        raise WeightsError(f"weights {file}: no such file")
    try:
        parts = shards_of(file)
    except ValueError as error:
        raise WeightsError(f"weights {file}: {error}") from None
    return without_prefix({k: v for part in parts or [file] for k, v in _tensors_of(part).items()})


def _tensors_of(file: Path) -> State:
    # Whatever a file is called: archives are torch.save's.
    if _is_safetensors(file) or (file.suffix == ".safetensors" and not zipfile.is_zipfile(file)):
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"weights {file}: not a safetensors file ({error})") from error
    try:
        # torch 2.4 has no such context: there only plain tensors are read.
        allowing = getattr(torch.serialization, "safe_globals", nullcontext)
        # Opened here, as torch itself goes by the name's ending.
        with allowing(harmless()), file.open("rb") as opened:
            loaded = torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises anything on bytes that are no pickle
        if said := what_it_is(file):
            raise WeightsError(f"weights {file}: {said}") from error
        if not isinstance(error, pickle.UnpicklingError):
            raise WeightsError(
                f"weights {file}: damaged, or not written by torch.save ({first_line(error)})"
            ) from error
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        held = f" (it holds a {named[1]})" if named else ""
        raise WeightsError(
            f"weights {file}: not plain weights{held}. Loading this file would run code of its author, so it is "
            "refused; save the tensors alone (safetensors, or torch.save of a state_dict)"
        ) from error
    try:
        return weights_in(loaded, str(file))
    except ValueError as error:
        raise WeightsError(f"weights {file}: not plain weights, {error}") from None


def _is_safetensors(file: Path) -> bool:
    """Whether a file is safetensors whatever it is called: eight bytes of a length, then JSON."""
    with file.open("rb") as opened:
        start = opened.read(10)
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < file.stat().st_size


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


def network_in(state: Mapping[str, Tensor], own: Collection[str], source: str | Path) -> State:
    """The tensors of the network of these names, without prefixes; what lies beside a prefix that holds all is told.

    A loss, a metric or averaged weights beside ``model.`` are no part of the network. Names within the prefix, or
    beside no prefix, are, and stay.

    Args:
        state: Tensors by name. own: The names of the network. source: For messages.

    Raises:
        WeightsError: The network is there several times.
    """
    whole = whole_sets(state, own)
    sets = [p for p in whole if not averaged(p)] or whole
    if len(sets) > 1 and "" not in sets:
        raise WeightsError(
            f"weights {source}: the network is there {len(sets)} times, under {some_names(sets)}: keep the tensors of "
            "one of them"
        )
    if not sets or "" in sets:
        return without_prefix(state, own.__contains__)
    prefix = sets[0]
    if beside := [k for k in state if not k.startswith(prefix)]:
        warnings.warn(
            f"weights {source}: {prefix} is read, and {some_names(beside)} beside it is not", UserWarning, stacklevel=4
        )
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def apply_state(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load ``state`` into ``module``: every key, no more, each of its shape. Values are cast to the module's dtypes.

    Prefixes are dropped where all names fit then (``without_prefix``). BatchNorm's ``num_batches_tracked`` may be
    absent, as evaluation does not use it.

    Raises:
        WeightsError: Names the missing, unexpected and mis-shaped keys, with the nearest renaming where the names are
            another package's; values that are NaN or infinite.
    """
    own = module.state_dict()
    state = network_in(state, own, source)
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
        other = renaming(missing, state, own) if missing and unexpected else second_set(unexpected, own)
        other = adapters(unexpected) or other
        problems += [other] if other else []
        raise WeightsError(
            f"weights {source} do not fit {_title(module)}. " + "; ".join(problems) + one_of_several(str(source))
        )
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


def _title(module: nn.Module) -> str:
    return str(getattr(module, "name", "") or type(module).__name__)

"""Checkpoints: heads and networks as safetensors with provenance, and resumable training states; atomic writes."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ...atomic import atomic_path, remove_leftovers
from ...baselines.contracts import Backbone, Branch, Head
from ...baselines.weights import apply_state, load_metadata, load_state, save_state
from ..host.errors import RunError, UsageError

HEAD_FORMAT, NETWORK_FORMAT, STATE_FORMAT = "cambench-head-1", "cambench-network-1", "cambench-training-3"


def versions() -> dict[str, str]:
    """Versions, machine and CPU threads: what can change the last bits of a trained number."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
    }
    for name in ("cambench", "torch", "torchvision", "timm", "numpy", "pillow"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors as safetensors; metadata values that are no strings become JSON.

    Raises:
        UsageError: The name does not end in ``.safetensors``.
        RunError: The file cannot be written (folder, rights, full disk).
    """
    if file.suffix != ".safetensors":
        raise UsageError(f"{file}: a checkpoint's name ends in .safetensors")
    text = {k: v if isinstance(v, str) else json.dumps(v, sort_keys=True) for k, v in metadata.items()}
    try:
        save_state(file, tensors, text)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write {file}: {error}") from error


def save_head(file: Path, head: Head, branch: Branch, record: Mapping[str, Any], **more: str) -> None:
    """Write one branch's head with its training record (JSON under ``record``); raises as ``save_tensors``."""
    facts = {"format": HEAD_FORMAT, "branch": branch, "num_classes": str(head.num_classes), "kind": head.kind}
    save_tensors(file, head.state_dict(), {**facts, **more, "record": dict(record)})


def load_head(file: Path, backbone: Backbone, branch: Branch = "sigmoid") -> dict[str, Any]:
    """Put the head in ``file`` onto ``backbone`` as its frozen branch; returns the training record.

    A softmax head brings its own class count; a sigmoid branch of other classes is then dropped.

    Raises:
        UsageError: Not a head checkpoint, of another branch, network or class count.
        WeightsError: Missing or damaged, or its keys or shapes do not fit.
    """
    tensors, metadata = load_state(file), load_metadata(file)
    if metadata.get("format") != HEAD_FORMAT:
        raise UsageError(f"checkpoint {file}: not a head written by `cambench train head`")
    if metadata["branch"] != branch:
        raise UsageError(f"checkpoint {file}: holds the {metadata['branch']} branch, wanted the {branch} branch")
    record: dict[str, Any] = json.loads(metadata["record"])
    made_for = record.get("backbone")
    if made_for and backbone.name and made_for != backbone.name:
        raise UsageError(f"checkpoint {file}: trained on {made_for}'s features, not on {backbone.name}'s")
    classes = int(metadata["num_classes"])
    if branch != "softmax" and classes != backbone.num_classes:
        raise UsageError(f"checkpoint {file}: {classes} classes, but the network has {backbone.num_classes}")
    try:
        head = backbone.fresh_head(branch, torch.Generator().manual_seed(0), num_classes=classes)
    except TypeError as error:
        raise UsageError(f"checkpoint {file}: {error}") from None
    apply_state(head, tensors, file)
    put_head(backbone, branch, head)
    return record


def put_head(backbone: Backbone, branch: Branch, head: Head) -> None:
    """Make ``head`` the frozen ``branch`` of ``backbone``; with a softmax head come its classes."""
    if branch == "softmax":
        for other in [b for b in backbone.heads if b != "softmax"]:
            if getattr(backbone.heads[other], "num_classes", None) != head.num_classes:
                del backbone.heads[other]
        backbone.num_classes, backbone.needs_training = head.num_classes, False
    backbone.heads[branch] = head
    backbone.freeze()


def network_tensors(backbone: Backbone) -> dict[str, Tensor]:
    """Parameters and buffers of the softmax network: everything except the other branches."""
    state = backbone.state_dict()
    return {k: v for k, v in state.items() if not k.startswith("heads.") or k.startswith("heads.softmax.")}


def save_network(file: Path, backbone: Backbone, metadata: Mapping[str, Any]) -> None:
    """Write the softmax network with its provenance; raises as ``save_tensors``."""
    save_tensors(file, network_tensors(backbone), {"format": NETWORK_FORMAT, **metadata})


def read_provenance(file: Path) -> dict[str, Any]:
    """Metadata of a trained network or head: command, seed, accuracy, data fingerprint, versions, record."""
    found: dict[str, Any] = {}
    for key, value in load_metadata(file).items():
        found[key] = json.loads(value) if value[:1] in "{[" else value
    return found


def save_training(file: Path, key: str, state: Mapping[str, Any]) -> None:
    """Write a resumable training state; ``key`` identifies everything that must agree to continue it.

    Raises:
        RunError: The file cannot be written (folder, rights, full disk); an earlier state stays as it was.
    """
    remove_leftovers(file)
    try:
        # torch's own file writer says nothing of a full disk; Python's error is the context of torch's.
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            torch.save({"format": STATE_FORMAT, "key": key, **state}, stream)
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        raise RunError(
            f"cannot write the training state {file}: {cause}. An earlier state, if there is one, is kept; free "
            "space or fix the folder's rights, and give the same command again"
        ) from error


def load_training(file: Path, key: str) -> dict[str, Any] | None:
    """The training state in ``file``, or None where there is none.

    Raises:
        UsageError: The file is not a training state, or belongs to another training; it is left untouched.
    """
    if not file.exists():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(f"training state {file}: cannot be read ({type(error).__name__}); delete it") from None
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise UsageError(
            f"training state {file}: not written by this version of `cambench train`; delete it or choose another --out"
        )
    if state["key"] != key:
        raise UsageError(
            f"training state {file} belongs to another training (network, first weights, recipe, seed, data or torch "
            "version differ); delete it to start afresh, or choose another --out"
        )
    return dict(state)

"""Where the files of a reproduction lie."""

from __future__ import annotations

from pathlib import Path

from .requests import FEW_SHOT, Reproduction


def network_file(request: Reproduction, dataset: str, name: str) -> Path:
    """Checkpoint of a network: the user's, or the one that is trained here."""
    base, plus, method = name.partition("+")
    theirs = {ours: k for k, ours in request.substitutes.items()}.get(base, base) + plus + method
    for key in (f"{dataset}/{name}", f"{dataset}/{theirs}"):
        if key in request.weights:
            return request.weights[key]
    return request.out / "networks" / dataset / f"{name.replace(':', '%3A')}.safetensors"


def head_file(request: Reproduction, dataset: str, name: str) -> Path:
    """Checkpoint of a sigmoid branch."""
    return request.out / "heads" / dataset / f"{name.replace(':', '%3A')}.sigmoid.safetensors"


def records_folder(request: Reproduction, dataset: str, protocol: str) -> Path:
    """Run folder of a data set under a protocol."""
    return request.out / "records" / dataset / protocol


def few_shot_file(request: Reproduction, dataset: str, name: str) -> Path:
    """Checkpoint of a network's few-shot baseline."""
    return request.out / FEW_SHOT / dataset / f"{name.replace(':', '%3A')}.safetensors"


def few_shot_drawn(request: Reproduction, dataset: str, name: str) -> Path:
    """What says that the baseline's maps of the test split are drawn; they lie in the folder of its name."""
    return few_shot_file(request, dataset, name).with_suffix(".json")


def few_shot_folder(request: Reproduction, dataset: str, name: str) -> Path:
    """Maps of the test split."""
    return few_shot_file(request, dataset, name).with_suffix("")

"""Heads that nobody trains twice: those that ship for the embedded networks, and one cache for all verbs."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ...baselines.backbones import features_digest, head_digest
from ...baselines.contracts import Backbone, Branch
from ...baselines.weights import WeightsError
from ...datasets.schema import SampleTable
from ...datasets.tables import cache_root
from ...triple import file_name
from ...version import __version__
from ..host.errors import RunError, UsageError
from .checkpoint import load_head, read_provenance, save_head
from .recipes.recipe import HeadRecipe

WHENCE = "taken_from"
"""Where a head's record says that it was not trained for the file that it stands in, but before."""
EARLIER, AS_SHIPPED = "trained in an earlier run", "shipped"
SHIPPED = Path(__file__).parent / "shipped"
"""Holds ``DATA-VERSION.NETWORK.BRANCH.DIGEST.safetensors``; digest of the network as ``network_key``."""


def network_key(backbone: Backbone, branch: Branch) -> str:
    """SHA-256 hex of what a branch's training takes from its network: the features, and the softmax head beside it."""
    beside = "" if branch == "softmax" else head_digest(backbone.head("softmax"))
    facts = [backbone.name, backbone.head_kind, features_digest(backbone), beside]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def drawn_data(table: SampleTable, options: Mapping[str, Any]) -> str | None:
    """Name and version of a data set that is drawn as it is by default; None for any other, which must be read."""
    version = table.facts.get("generator_version")
    return None if version is None or options.keys() - {"refresh", "on_progress"} else f"{table.name}-{version}"


def shipped_head(
    backbone: Backbone, branch: Branch, data: str = "*", recipe: HeadRecipe | None = None, seed: int = 0
) -> Path | None:
    """The head that ships for this very network, trained on ``data`` by ``recipe`` (default: whichever) from a seed."""
    end = f"{file_name(backbone.name)}.{branch}.{network_key(backbone, branch)[:16]}.safetensors"
    for file in SHIPPED.glob(f"{data}.{glob.escape(end)}"):
        record = read_provenance(file)["record"]
        if record["seed"] == seed and recipe in (None, HeadRecipe(**record["recipe"])):
            return file
    return None


def known_head(
    backbone: Backbone,
    branch: Branch,
    table: SampleTable,
    recipe: HeadRecipe,
    seed: int,
    device: torch.device,
    *,
    data: str | None = None,
) -> dict[str, Any] | None:
    """Put the head in place that this very training would make, where it was made before; its record, or None.

    ``data``: as of ``drawn_data``; the heads that ship are asked first.
    """
    if data is not None and (shipped := shipped_head(backbone, branch, data, recipe, seed)) is not None:
        return {**load_head(shipped, backbone, branch), WHENCE: AS_SHIPPED}
    kept = take_kept(cached_head(backbone, branch, table, recipe, seed, device), backbone, branch)
    return None if kept is None else {**kept, WHENCE: EARLIER}


def cached_head(
    backbone: Backbone, branch: Branch, table: SampleTable, recipe: HeadRecipe, seed: int, device: torch.device
) -> Path:
    """Where the head is kept that a training on ``table`` (these very rows) makes; the file need not be there."""
    data = [table.fingerprint, len(table), table.num_classes]
    made = [recipe.digest, seed, device.type, torch.__version__, __version__]
    key = hashlib.sha256(json.dumps([*data, *made]).encode()).hexdigest()
    return _of_network(backbone, branch) / f"{key[:32]}.safetensors"


def head_of_before(backbone: Backbone, branch: Branch) -> Path | None:
    """The head that ships for this very network, else the only one that trainings on whatever data left in the cache.

    Raises:
        UsageError: The cache has several; the message lists them.
    """
    if (shipped := shipped_head(backbone, branch)) is not None:
        return shipped
    found = sorted(_of_network(backbone, branch).glob("*.safetensors"))
    if len(found) > 1:
        about = {file: read_provenance(file)["record"] for file in found}
        listed = "\n".join(f"  {file}: {r['dataset']} {r['split']}, seed {r['seed']}" for file, r in about.items())
        raise UsageError(
            f"{backbone.name} has {len(found)} {branch} branches of earlier trainings; give head_weights=FILE, one of\n"
            + listed
        )
    return found[0] if found else None


def _of_network(backbone: Backbone, branch: Branch) -> Path:
    name = f"{file_name(backbone.name)}.{branch}.{network_key(backbone, branch)[:32]}"
    return cache_root() / "heads" / name


def take_kept(file: Path, backbone: Backbone, branch: Branch) -> dict[str, Any] | None:
    """Put a kept head in place, and return its record; None where there is none, or a damaged one (to be made anew)."""
    try:
        return load_head(file, backbone, branch)
    except (WeightsError, UsageError):
        return None


def keep_head(file: Path, backbone: Backbone, branch: Branch, record: Mapping[str, Any]) -> None:
    """Put a branch that was just trained into the cache; one that cannot be written is no reason to fail."""
    with suppress(RunError):
        save_head(file, backbone.head(branch), branch, record)

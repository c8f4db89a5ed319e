"""Heads that nobody trains twice: those that ship for the embedded networks, and one cache for all verbs."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...baselines.backbones import features_digest, head_digest
from ...baselines.contracts import Backbone, Branch
from ...datasets.schema import SampleTable
from ...datasets.tables import cache_root
from ...triple import file_name
from ...version import __version__
from .checkpoint import read_provenance
from .recipes.recipe import HeadRecipe

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


def cached_head(
    backbone: Backbone, branch: Branch, table: SampleTable, recipe: HeadRecipe, seed: int, device: torch.device
) -> Path:
    """Where the head is kept that a training on ``table`` (these very rows) makes; the file need not be there."""
    data = [table.fingerprint, len(table), table.num_classes]
    made = [recipe.digest, seed, device.type, torch.__version__, __version__]
    key = hashlib.sha256(json.dumps([network_key(backbone, branch), *data, *made]).encode()).hexdigest()
    return cache_root() / "heads" / f"{file_name(backbone.name)}.{branch}.{key[:32]}.safetensors"

"""The branches of a run's networks: loaded from files, taken from another run, or trained and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from ...baselines.backbones import features_digest, head_digest
from ...baselines.contracts import Backbone, Branch
from ...baselines.weights import WeightsError
from ...consoles import err as console
from ...datasets.schema import DatasetError, SampleTable
from ...results.records.described import BranchRecord
from ...results.records.run_folder import read_manifest
from ...triple import file_name
from ..host.errors import RunError, UsageError
from ..training.head import load_head, save_head, train_head
from ..training.head_cache import (
    AS_SHIPPED,
    EARLIER,
    WHENCE,
    cached_head,
    drawn_data,
    keep_head,
    shipped_head,
    take_kept,
)
from ..training.images.features import FeatureSource, feature_source, image_source
from ..training.images.image_source import ImageSource
from ..training.means import Means
from ..training.recipes.recipe import HeadRecipe
from ..training.recipes.recipe_files import auto_recipe, load_recipe
from .networks import check_labels, tell_warnings
from .planning.config import RunConfig
from .planning.given import HeadFiles

TRAINED = "trained in this run"
Claim = Callable[[str, str], AbstractContextManager[bool]]
"""Whether a branch of a backbone is this process's to train while the context lasts."""


def _alone(_name: str, _branch: str) -> AbstractContextManager[bool]:
    return nullcontext(True)


def head_path(out: Path, name: str, branch: Branch) -> Path:
    """Where a run keeps a branch that it trained."""
    return out / "heads" / f"{file_name(name)}.{branch}.safetensors"


class TrainedElsewhereError(Exception):
    """Another process of the launch trains a branch at this moment; it will be on disk."""


class HeadKeeper:
    """Loads or trains the branches that a run needs and keeps what it trained under ``OUT/heads``."""

    def __init__(self, config: RunConfig, table: SampleTable, device: torch.device, files: HeadFiles) -> None:
        self._config, self._table, self._device, self._files = config, table, device, files
        self._train_table: SampleTable | None = None
        self._source: FeatureSource | None = None
        self._images: ImageSource | None = None
        self._given: dict[tuple[str, Branch], tuple[str, Mapping[str, Any]]] = {}
        self._made: dict[tuple[str, Branch], tuple[str, Mapping[str, Any]]] = {}

    @property
    def recipe_name(self) -> str:
        """The recipe of the heads trained in this run."""
        name = self._config.head_recipe
        return auto_recipe(self._table.name) if name == "auto" else name

    def take(self, name: str, backbone: Backbone, branches: Sequence[Branch]) -> set[Branch]:
        """Put the branches in place that files give, and return them; called for every network before one is trained.

        Where a softmax head that is yet to be trained decides the classes, the other files wait for it (``ensure``).

        Raises:
            UsageError: As ``load_head``. WeightsError: A file is missing, damaged or does not fit.
            RunError: The softmax head has no logit for a label.
        """
        for branch in branches:
            waits = backbone.needs_training and not self._table.facts.get("num_classes_known", True)
            file = self._files.get((name, branch))
            if (name, branch) in self._given or file is None or (waits and branch != "softmax"):
                continue
            training = load_head(file, backbone, branch)
            check_labels(backbone, self._table, name)
            self._given[name, branch] = f"file {file.name}", training
        return {branch for branch in branches if (name, branch) in self._given}

    def check_trainable(self, name: str, backbone: Backbone, branches: Sequence[Branch]) -> None:
        """Raise ``DatasetError`` where a branch must be trained and there is no ``train`` split: before other networks
        are computed for hours."""
        for branch in branches:
            there = branch in backbone.heads and not backbone.needs_training
            if there or {(name, branch)} & {*self._given, *self._made}:
                continue
            shipped = None if self._config.retrain else self._shipped(backbone, branch, self._recipe())
            if shipped is None and not head_path(self._config.out, name, branch).is_file():
                self._training_table(name, branch)

    def ensure(
        self, name: str, backbone: Backbone, branches: Sequence[Branch], claim: Claim = _alone
    ) -> dict[str, BranchRecord]:
        """Put every branch in place, frozen; returns their records.

        Args:
            name: Of the backbone. backbone: The network. branches: Those that the run reads.
            claim: Says of a branch that is to be trained whether this process may.

        Raises:
            TrainedElsewhereError: Another process trains a branch now; call again later.
            DatasetError: A branch must be trained and the data set has no ``train`` split here.
            UsageError, WeightsError: As ``take``.
            RunError: Training diverged.
        """
        records: dict[str, BranchRecord] = {}
        self._source = None
        for branch in branches:
            self.take(name, backbone, branches)
            training: Mapping[str, Any] | None = None
            if (name, branch) in self._given:
                source, training = self._given[name, branch]
            elif (name, branch) in self._made:
                source, training = self._made[name, branch]
            elif branch in backbone.heads and not backbone.needs_training:
                source = backbone.weights_source
            else:
                with claim(name, branch) as mine:
                    # What another process has just finished is taken from its file.
                    if not mine and not head_path(self._config.out, name, branch).is_file():
                        raise TrainedElsewhereError
                    source, training = self._made[name, branch] = self._trained(name, backbone, branch)
            backbone.needs_training = False
            backbone.freeze()
            records[branch] = BranchRecord(
                sha256=head_digest(backbone.head(branch)),
                provenance=source,
                training=dict(training) if training is not None else None,
            )
        return records

    def _trained(self, name: str, backbone: Backbone, branch: Branch) -> tuple[str, Mapping[str, Any]]:
        kept = head_path(self._config.out, name, branch)
        if kept.is_file():
            try:
                training = load_head(kept, backbone, branch)
                return str(training.get(WHENCE, TRAINED)), training
            except (WeightsError, UsageError) as error:
                raise RunError(
                    f"{error}. Delete {kept} and give the same command: the branch is trained anew"
                ) from error
        recipe = self._recipe()
        anew, seed = self._config.retrain, self._config.seed
        if not anew and (shipped := self._shipped(backbone, branch, recipe)) is not None:
            return _kept(kept, backbone, branch, {**load_head(shipped, backbone, branch), WHENCE: AS_SHIPPED})
        table = self._training_table(name, branch)
        # Before the training, which a softmax branch's key is not to see the result of.
        cached = cached_head(backbone, branch, table, recipe, seed, self._device)
        if not anew and (earlier := take_kept(cached, backbone, branch)) is not None:
            if branch == "softmax":
                _say_if_chance(name, earlier["train_top1"][branch], table)
            return _kept(kept, backbone, branch, {**earlier, WHENCE: EARLIER})
        means = Means(self._device, progress=True, workers=self._config.workers)
        if self._source is None and branch != "semantic":
            # Images are decoded once for all backbones, features are computed once for all branches of one.
            self._images = self._images or image_source(table, recipe, means.workers)
            self._source = feature_source(backbone, table, recipe, [], means, self._images)
        # The token-semantic head reads more of the features than the others, which share what they need.
        data = self._source if self._source is not None and branch != "semantic" else table
        record = train_head(backbone, data, recipe, branch, means, seed=seed).model_dump(mode="json")
        save_head(kept, backbone.head(branch), branch, record)
        keep_head(cached, backbone, branch, record)
        if branch == "softmax":
            _say_if_chance(name, record["train_top1"][branch], table)
        return TRAINED, record

    def _recipe(self) -> HeadRecipe:
        return load_recipe(HeadRecipe, self.recipe_name)

    def _shipped(self, backbone: Backbone, branch: Branch, recipe: HeadRecipe) -> Path | None:
        data = drawn_data(self._table, self._config.options)
        return None if data is None else shipped_head(backbone, branch, data, recipe, self._config.seed)

    def _training_table(self, name: str, branch: Branch) -> SampleTable:
        if self._train_table is None:
            config = self._config
            try:
                self._train_table = config.source.of("train").open()
                tell_warnings(self._train_table)
            except DatasetError as error:
                advice = "Give trained heads with --head-weights, or ask for softmax heads only"
                if branch == "softmax":
                    classes = self._table.num_classes
                    advice = (
                        f"Give one of {classes} classes with --softmax-weights, or a network of them with --weights"
                    )
                    if config.dataset == "folder" and "labels" not in config.options:
                        advice += (
                            "; to stay with the network's own classes, pass --option labels=network (the labels are "
                            "names of them, as of ImageNet's), or --option labels=none (what is predicted is drawn)"
                        )
                raise DatasetError(
                    f"the {branch} branch of {name} must be trained, which needs the train split of "
                    f"{config.dataset}: {error}. {advice}"
                ) from error
        return self._train_table


def _kept(file: Path, backbone: Backbone, branch: Branch, record: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Keep a branch that was trained before; where it came from, and its record."""
    save_head(file, backbone.head(branch), branch, record)
    return str(record[WHENCE]), record


def has_head(run: Path, name: str, branch: Branch) -> bool:
    """Whether a run trained a network's branch."""
    return head_path(run, name, branch).is_file()


def take_heads(run: Path, name: str, network: Backbone, branches: Sequence[Branch]) -> None:
    """Put the heads that a run trained onto the network.

    Raises:
        UsageError: The run has no such network or branch, or a network of other weights.
    """
    manifest = read_manifest(run)
    record = manifest.backbones.get(name)
    if record is None:
        raise UsageError(f"run {run}: has no {name}; it has {', '.join(manifest.backbones) or 'no network'}")
    if record.weights_sha256 != features_digest(network):
        raise UsageError(
            f"run {run}: its {name} has other weights ({record.weights_source}); give the same weights file"
        )
    for branch in branches:
        file = head_path(run, name, branch)
        if file.is_file():
            load_head(file, network, branch)
        elif branch not in network.heads or (branch == "softmax" and network.needs_training):
            raise UsageError(
                f"run {run}: has no {branch} branch of {name}, which it did not need; give a run of a {branch} head"
            )


def _say_if_chance(name: str, right: float, table: SampleTable) -> None:
    """Warn of a softmax head that learnt next to nothing: what explains its classes explains noise."""
    chance = 100 / table.num_classes
    if right < 2 * chance:
        console.print(
            f"{name}: the softmax head trained on the {len(table):,} images of {table.name} {table.split} gets "
            f"{right:.1f} % of them right (chance {chance:.1f} %): its maps and confidences say little. Train the "
            "network (cambench train backbone), or give --weights",
            markup=False, soft_wrap=True, style="yellow",
        )  # fmt: skip

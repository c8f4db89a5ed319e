"""Networks ready for a run: opened, with every branch that the plan reads, frozen and on their device."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...baselines.backbones.opening import features_digest, head_digest, open_backbone
from ...baselines.contracts import Backbone, Branch
from ...baselines.weights.weight_files import WeightsError
from ...datasets.open import open_table
from ...datasets.schema import DatasetError, SampleTable
from ...results.records.manifest import BackboneRecord, BranchRecord
from ...text import visible
from ...triple import file_name
from ..host.errors import RunError, UsageError
from ..host.progress import console
from ..training.features import FeatureSource, feature_source, image_source
from ..training.head import load_head, save_head, train_head
from ..training.image_source import ImageSource
from ..training.recipe import HeadRecipe
from ..training.recipe_files import auto_recipe, load_recipe
from .config import RunConfig

HEAD_BRANCHES: tuple[Branch, ...] = ("sigmoid", "semantic")
"""Branches that ``--head-weights`` gives; the softmax branch has an option of its own."""


def tell_warnings(table: SampleTable) -> None:
    """Print what is odd about a split's data: images left out, a subset, … (the first process of several only)."""
    if os.environ.get("RANK", "0") == "0":
        for warning in table.warnings:
            console.print(visible(f"{table.name} {table.split}: {warning}"), markup=False, soft_wrap=True)


def open_network(name: str, table: SampleTable, config: RunConfig, only_one: bool) -> Backbone:
    """The network of a triple, with its own classes where they are the data set's, else with a fresh softmax head.

    Only weights that a library or package ships get a fresh head (which the run then trains, and records); a file of
    another class count is refused.

    Raises:
        UnknownNameError, WeightsError: No such network; weights that do not fit.
        UsageError: ``--weights FILE`` of another class count, or without a backbone name although the run has several.
    """
    file = _file_for(name, config.weights, only_one, "--weights")
    native = open_backbone(name, num_classes=None, weights=file, pretrained=config.pretrained)
    if classes_fit(native.num_classes, table):
        return native
    if file is not None and not native.needs_training:
        raise UsageError(
            f"weights {file}: this {name} has {native.num_classes} classes, {table.name} has {table.num_classes}: the "
            f"file is of another data set. Train one for {table.name} from it with `cambench train backbone --weights "
            "FILE`, or choose another file"
        )
    return open_backbone(name, num_classes=table.num_classes, weights=file, pretrained=config.pretrained)


def check_names(config: RunConfig, names: Sequence[str]) -> None:
    """Raise ``UsageError`` where a file is given for a network that the triples do not have."""
    given = {"--weights": config.weights, "--head-weights": config.head_weights}
    for flag, files in {**given, "--softmax-weights": config.softmax_weights}.items():
        for key, file in files.items():
            known = [*names, "*"]
            if flag == "--head-weights":
                known += [*HEAD_BRANCHES, *(f"{n}:{b}" for n in names for b in HEAD_BRANCHES)]
            if key not in known:
                raise UsageError(f"{flag} {key}={file}: no triple has the backbone {key!r}, only {', '.join(names)}")


def head_files(
    name: str, files: Mapping[str, Path], branches: Collection[Branch], only_one: bool
) -> dict[Branch, Path]:
    """The ``--head-weights`` file of each branch beside the softmax one that a network's triples read.

    Args:
        files: By ``BACKBONE:BRANCH``; by ``BRANCH``, by ``BACKBONE``, or ``*``, where these can mean one thing only.

    Raises:
        UsageError: A file without a backbone although the run has several, or without a branch although ``name``
            reads two.
    """
    wanted = [b for b in HEAD_BRANCHES if b in branches]
    found: dict[Branch, Path] = {b: files[f"{name}:{b}"] for b in wanted if f"{name}:{b}" in files}
    for branch in wanted:
        if branch in files and branch not in found:
            if not only_one:
                file = files[branch]
                raise UsageError(
                    f"--head-weights {branch}={file}: the run has several backbones; write "
                    f"--head-weights BACKBONE:{branch}={file}"
                )
            found[branch] = files[branch]
    plain = _file_for(name, files, only_one, "--head-weights") if wanted else None
    if plain is not None:
        left = [b for b in wanted if b not in found]
        if not left:
            raise UsageError(f"--head-weights {plain}: {name} has a file for every branch already; leave one out")
        if len(left) > 1:
            raise UsageError(
                f"--head-weights {plain}: the triples of {name} read the branches {' and '.join(left)}; write "
                + " or ".join(f"--head-weights {'' if only_one else name + ':'}{b}={plain}" for b in left)
            )
        found[left[0]] = plain
    return found


def classes_fit(num_classes: int, table: SampleTable) -> bool:
    """Whether a head of ``num_classes`` classes can be scored on the table as it is."""
    if table.facts.get("num_classes_known", True):
        return num_classes == table.num_classes
    # Only the labels that occur are known: a subset of a larger label space fits a head that covers them.
    return num_classes >= table.num_classes


class HeadKeeper:
    """Loads or trains the branches that a run needs and keeps what it trained under ``OUT/heads``."""

    def __init__(self, config: RunConfig, table: SampleTable, device: torch.device, only_one: bool) -> None:
        self._config, self._table, self._device, self._only_one = config, table, device, only_one
        self._train_table: SampleTable | None = None
        self._source: FeatureSource | None = None
        self._images: ImageSource | None = None
        self._given: dict[tuple[str, Branch], tuple[str, Mapping[str, Any]]] = {}

    @property
    def recipe_name(self) -> str:
        """The recipe of the heads trained in this run."""
        name = self._config.head_recipe
        return auto_recipe(self._table.name) if name == "auto" else name

    def take(self, name: str, backbone: Backbone, branches: Sequence[Branch]) -> set[Branch]:
        """Put the branches in place that files give, and return them; called for every network before one is trained.

        Where a softmax head that is yet to be trained decides the classes, the other files wait for it (``ensure``).

        Raises:
            UsageError: As ``head_files`` and ``load_head``. WeightsError: A file is missing, damaged or does not fit.
            RunError: The softmax head has no logit for a label.
        """
        files = head_files(name, self._config.head_weights, branches, self._only_one)
        softmax = _file_for(name, self._config.softmax_weights, self._only_one, "--softmax-weights")
        if softmax is not None:
            files["softmax"] = softmax
        for branch in branches:
            waits = backbone.needs_training and not self._table.facts.get("num_classes_known", True)
            if (name, branch) in self._given or branch not in files or (waits and branch != "softmax"):
                continue
            training = load_head(files[branch], backbone, branch)
            check_labels(backbone, self._table, name)
            self._given[name, branch] = f"file {files[branch].name}", training
        return {branch for branch in branches if (name, branch) in self._given}

    def ensure(self, name: str, backbone: Backbone, branches: Sequence[Branch]) -> dict[str, BranchRecord]:
        """Put every branch in place, frozen; returns their records.

        Raises:
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
            elif branch in backbone.heads and not backbone.needs_training:
                source = backbone.weights_source
            else:
                source, training = self._trained(name, backbone, branch)
            backbone.needs_training = False
            backbone.freeze()
            records[branch] = BranchRecord(
                sha256=head_digest(backbone.head(branch)),
                provenance=source,
                training=dict(training) if training is not None else None,
            )
        return records

    def _trained(self, name: str, backbone: Backbone, branch: Branch) -> tuple[str, Mapping[str, Any]]:
        kept = self._config.out / "heads" / f"{file_name(name)}.{branch}.safetensors"
        if kept.is_file():
            try:
                return "trained in this run", load_head(kept, backbone, branch)
            except (WeightsError, UsageError) as error:
                raise RunError(
                    f"{error}. Delete {kept} and give the same command: the branch is trained anew"
                ) from error
        recipe = load_recipe(HeadRecipe, self.recipe_name)
        table = self._training_table(name, branch)
        workers = self._config.workers
        if self._source is None and branch != "semantic":
            # Images are decoded once for all backbones, features are computed once for all branches of one.
            self._images = self._images or image_source(table, recipe, workers)
            self._source = feature_source(
                backbone, table, recipe, self._device, [], workers=workers, images=self._images
            )
        record = train_head(
            backbone,
            table,
            recipe,
            branch,
            self._device,
            True,
            seed=self._config.seed,
            workers=workers,
            # The token-semantic head reads more of the features than the others, which share what they need.
            source=self._source if branch != "semantic" else None,
        ).model_dump(mode="json")
        save_head(kept, backbone.head(branch), branch, record)
        if branch == "softmax":
            _say_if_chance(name, record["train_top1"][branch], table)
        return "trained in this run", record

    def _training_table(self, name: str, branch: Branch) -> SampleTable:
        if self._train_table is None:
            config = self._config
            try:
                self._train_table = open_table(config.dataset, config.root, "train", **config.options)
                tell_warnings(self._train_table)
            except DatasetError as error:
                advice = "Give trained heads with --head-weights, or ask for softmax heads only"
                if branch == "softmax":
                    classes = self._table.num_classes
                    advice = (
                        f"Give one of {classes} classes with --softmax-weights, or a network of them with --weights"
                    )
                raise DatasetError(
                    f"the {branch} branch of {name} must be trained, which needs the train split of "
                    f"{config.dataset}: {error}. {advice}"
                ) from error
        return self._train_table


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


def backbone_record(backbone: Backbone) -> BackboneRecord:
    """What ``run.json`` says of a network before its branches are known."""
    return BackboneRecord(
        weights_sha256=features_digest(backbone),
        weights_source=backbone.weights_source,
        feature_layer=backbone.feature_layer,
        head_kind=backbone.head_kind,
        num_classes=backbone.num_classes,
        parameters=sum(p.numel() for n, p in backbone.named_parameters() if not n.startswith("heads.sigmoid.")),
    )


def check_labels(backbone: Backbone, table: SampleTable, name: str) -> None:
    """RunError unless every label of the table has a logit."""
    if len(table) and (top := max(table.rows["label"][:])) >= backbone.num_classes:
        raise RunError(f"{table.name} has labels up to {top}, but {name} has {backbone.num_classes} classes")


def _file_for(name: str, files: Mapping[str, Path], only_one: bool, flag: str) -> Path | None:
    if name in files:
        return files[name]
    if "*" in files:
        if not only_one:
            raise UsageError(f"{flag} {files['*']}: the run has several backbones; write {flag} BACKBONE=FILE")
        return files["*"]
    return None


@contextmanager
def torch_determinism() -> Iterator[None]:
    """Deterministic convolution algorithms on CUDA while a run lasts; the CPU's are deterministic as they are."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before

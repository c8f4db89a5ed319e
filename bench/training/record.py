"""What a checkpoint says of its training: recipe, data, seed, losses, accuracy, versions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ...baselines.contracts import Backbone, Branch
from ...datasets.schema import SampleTable
from .checkpoint import versions
from .recipes.recipe import Recipe


class TrainingRecord(BaseModel):
    """What both kinds of training record; enough to do it again.

    ``images`` were trained on, ``failures`` are the ids of those that could not be decoded. ``losses``: mean training
    loss per epoch (nats). ``seconds``: wall time with decoding, over all parts of a resumed training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    backbone: str
    num_classes: int
    dataset: str
    split: str
    data_fingerprint: str
    images: int
    failures: tuple[str, ...]
    recipe: dict[str, Any]
    recipe_digest: str
    seed: int
    losses: tuple[float, ...]
    seconds: float
    device: str
    versions: dict[str, str]


class HeadTrainingRecord(TrainingRecord):
    """How a head was trained.

    ``train_top1``: percent correct per branch over the images as the last epoch saw them (before each step's update).
    ``eval_top1``: percent on the evaluation table, where one was given; ``epoch_top1``: the same after each epoch,
    where that was asked for. ``backbone_passes``: over the training table. ``cache_bytes``: size of the features of the
    whole table; ``cached`` says whether they were kept.
    """

    feature_layer: str
    branch: Branch
    train_top1: dict[str, float]
    eval_top1: dict[str, float]
    epoch_top1: tuple[dict[str, float], ...] = ()
    eval_fingerprint: str | None
    backbone_passes: int
    cached: bool
    pooled: bool
    cache_bytes: int
    feature_dtype: str


class BackboneTrainingRecord(TrainingRecord):
    """How a network was trained. ``train_top1``: percent per epoch on augmented images; ``eval_top1``: percent per
    evaluated split. ``parts``: parts of a batch, over ``processes`` processes; ``weights``: where the training began.
    ``images_per_second``: over the whole training, decoding included. ``peak_memory_mib``: MiB, allocated on a CUDA
    device, else resident, in the (first) process that ended the training. ``method``: how it was trained, and
    ``method_parameters``; ``cam``: the CAM method that reads such a network at test time.
    """

    train_top1: tuple[float, ...]
    eval_top1: dict[str, float]
    eval_fingerprints: dict[str, str]
    parts: int = 1
    processes: int = 1
    weights: str = ""
    method: str = "cam"
    method_parameters: dict[str, Any] = {}
    cam: str = "cam"
    images_per_second: float = 0.0
    peak_memory_mib: float = 0.0


def common_facts(
    backbone: Backbone, table: SampleTable, recipe: Recipe, seed: int, failures: dict[int, str], device: str
) -> dict[str, Any]:
    """The fields of ``TrainingRecord`` that are known from the request; ``failures``: row -> image id."""
    return {
        "backbone": backbone.name,
        "num_classes": backbone.num_classes,
        "dataset": table.name,
        "split": table.split,
        "data_fingerprint": table.fingerprint,
        "images": len(table) - len(failures),
        "failures": tuple(image for _, image in sorted(failures.items())),
        "recipe": recipe.model_dump(mode="json"),
        "recipe_digest": recipe.digest,
        "seed": seed,
        "device": device,
        "versions": versions(),
    }

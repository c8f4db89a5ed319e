"""The networks of a run: opened with the classes of the data, described, checked against the labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from ...baselines.backbones import features_digest, open_backbone
from ...baselines.contracts import Backbone
from ...baselines.wsol import PLAIN, TAP, split_name
from ...consoles import err as console
from ...datasets.schema import DatasetError, MissingSplitError, SampleTable
from ...float64 import float64_on_cpu
from ...results.records.described import NO_NETWORK, BackboneRecord
from ...text import visible
from ...torch_state import float32_by, usual_torch
from ..host.dtypes import Dtype, float32_kind
from ..host.errors import RunError, UsageError
from .planning.config import RunConfig
from .planning.given import file_for


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
    file = file_for(name, config.weights, only_one, "--weights")
    base, method = split_name(name)
    if file is None and (method != PLAIN or base.endswith(f"+{TAP}")):
        way = "" if method == PLAIN else f" --method {method}"
        raise UsageError(
            f"{name} comes without trained weights: give --weights {name}=FILE; `cambench train backbone --backbone "
            f"{base}{way}` trains it"
        )
    native = open_backbone(name, num_classes=None, weights=file, pretrained=config.pretrained)
    if native.image_channels not in (1, 3):
        raise UsageError(
            f"{name} takes images of {native.image_channels} channels, and those of {table.name} have 3 colours; maps "
            f"of other images are drawn by cambench.explain, from arrays (H,W,{native.image_channels})"
        )
    if classes_fit(native.num_classes, table):
        native.needs_training = native.needs_training and not _keeps_random_classes(native, table, config)
        return native
    if table.facts.get("label_space") == "network":
        raise UsageError(
            f"labels=network: the labels are {table.num_classes:,} classes, and {name} has {native.num_classes:,}; "
            "leave the option out (a head is trained then), or pass --option labels=none to go without labels"
        )
    if file is not None and not native.needs_training:
        raise UsageError(
            f"weights {file}: this {name} has {native.num_classes} classes, {table.name} has {table.num_classes}: the "
            f"file is of another data set. Train one for {table.name} from it with `cambench train backbone --weights "
            "FILE`, or choose another file"
        )
    return open_backbone(name, num_classes=table.num_classes, weights=file, pretrained=config.pretrained)


def _keeps_random_classes(network: Backbone, table: SampleTable, config: RunConfig) -> bool:
    """Whether classes that nobody trained stay: the network's own are wanted, and nothing is there to train them on."""
    own = "label_space" in table.facts and not config.pretrained and network.needs_training
    given = config.weights or config.softmax_weights
    return own and not given and not (table.labelled and has_train_split(config))


def untrained(networks: Mapping[str, Backbone]) -> list[str]:
    """What to say of networks that are read as they were made, with random weights."""
    return [
        f"{name}: random weights, as --no-pretrained asks, and nothing to train them on: its classes, maps and scores "
        "say nothing about the pictures"
        for name, network in networks.items()
        if network.weights_source == "untrained" and not network.needs_training
    ]


def has_train_split(config: RunConfig) -> bool:
    """Whether the data of a request have a train split; one that is there and damaged counts."""
    try:
        config.source.of("train").open()
    except MissingSplitError:
        return False
    except DatasetError:
        return True
    return True


def classes_fit(num_classes: int, table: SampleTable) -> bool:
    """Whether a head of ``num_classes`` classes can be scored on the table as it is."""
    if "label_names" in table.facts:
        return True
    if table.facts.get("num_classes_known", True):
        return num_classes == table.num_classes
    # Only the labels that occur are known: a subset of a larger label space fits a head that covers them.
    return num_classes >= table.num_classes


def backbone_record(backbone: Backbone) -> BackboneRecord:
    """What ``run.json`` says of a network before its branches are known."""
    return BackboneRecord(
        weights_sha256=features_digest(backbone),
        weights_source=backbone.weights_source,
        feature_layer=backbone.feature_layer,
        head_kind=backbone.head_kind,
        num_classes=backbone.num_classes,
        through_network=backbone.through_network,
        activation=backbone.activation,
        input_size=backbone.input_size,
        parameters=sum(p.numel() for n, p in backbone.named_parameters() if not n.startswith("heads.sigmoid.")),
    )


def bare_record(table: SampleTable) -> BackboneRecord:
    """What ``run.json`` says where no network stands behind the maps."""
    return BackboneRecord(
        title="Maps from elsewhere", weights_sha256="", head_kind=NO_NETWORK, num_classes=max(1, table.num_classes)
    )


def check_labels(backbone: Backbone, table: SampleTable, name: str) -> None:
    """RunError unless every label of the table has a logit."""
    if len(table) and (top := max(table.rows["label"][:])) >= backbone.num_classes:
        raise RunError(f"{table.name} has labels up to {top}, but {name} has {backbone.num_classes} classes")


@contextmanager
def same_numbers(device: torch.device, dtype: Dtype = "float32") -> Iterator[None]:
    """While entered, a device computes what it computes every time: see ``docs/devices.md``.

    The caller's inference mode, autocast, default precision and rounding of float32 are left outside; convolutions on
    CUDA are deterministic, and float32 is rounded to TF32 only where ``dtype`` says so; float64 that a device lacks is
    computed on the CPU.
    """
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with usual_torch(), float32_by(float32_kind(dtype)), float64_on_cpu(device):
            yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before

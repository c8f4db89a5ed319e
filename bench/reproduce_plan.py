"""What ``cambench reproduce`` has to do: networks to train, heads to train, passes to run, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from ..baselines.base import Backbone
from ..baselines.checkpoint_layouts import layout_of
from ..baselines.open import open_backbone
from ..baselines.weights_io import load_metadata
from ..datasets.open import open_table
from ..datasets.schema import DATASETS, DatasetError, SampleTable
from ..protocol import PROTOCOLS
from ..results.paper_tables import TableName, published_table
from .config import pick_device
from .errors import UsageError
from .recipe import BackboneRecipe, HeadRecipe
from .recipe_files import backbone_recipe_name, load_recipe
from .reproduce_facts import check_same, network_facts

Kind = Literal["network", "head", "records"]
FOLDERS = {
    "cub": ("CUB_200_2011", "cub", "CUB"),
    "stanford_cars": ("stanford_cars", "StanfordCars", "cars"),
    "imagenet": ("imagenet", "ImageNet", "ILSVRC", "ILSVRC2012"),
    "openimages30k": ("OpenImages", "openimages30k", "openimages"),
}
"""Usual folder names below ``--data-root``."""
TRAINING_FORWARDS = 3.0
"""A training step costs about three forwards (forward, and a backward of twice its work)."""


@dataclass(frozen=True)
class Reproduction:
    """A request: which table, from which data, into which folder."""

    table: str
    out: Path
    data_root: Path | None = None
    roots: Mapping[str, Path] = field(default_factory=dict)
    """Data set -> folder, where it is not a usual one below ``data_root``."""
    datasets: tuple[str, ...] = ()
    """Data sets of the table to run; empty: all."""
    protocols: tuple[str, ...] = ("paper",)
    limit: int | None = None
    """Only the first N images of every split (a trial)."""
    substitutes: Mapping[str, str] = field(default_factory=dict)
    """Network of the paper -> network that stands in for it (a trial)."""
    weights: Mapping[str, Path] = field(default_factory=dict)
    """``DATASET/NETWORK`` -> file of a trained network; it and a sigmoid branch that the file holds are not trained."""
    backbone_recipe: str = "auto"
    head_recipe: str = "paper"
    seed: int = 0
    device: str = "auto"
    batch_size: int = 32
    workers: int = 2
    dtype: str = "float32"
    resamples: int = 2000

    def recipe_of(self, dataset: str, network: str) -> BackboneRecipe:
        """Recipe of a network on a data set: its own; the data set's for a stand-in, whose layers are others."""
        if self.backbone_recipe != "auto":
            return load_recipe(BackboneRecipe, self.backbone_recipe)
        own = "" if network in self.substitutes.values() else network
        return load_recipe(BackboneRecipe, backbone_recipe_name(dataset, own))

    def root_of(self, dataset: str) -> Path:
        """Folder of a data set; ``DatasetError`` says where it was looked for."""
        if dataset in self.roots:
            return self.roots[dataset]
        if self.data_root is None:
            raise DatasetError(f"{dataset}: give --data-root, or --root {dataset}=DIR")
        found = next((self.data_root / n for n in FOLDERS[dataset] if (self.data_root / n).is_dir()), None)
        if found is None:
            names = ", ".join(FOLDERS[dataset])
            raise DatasetError(
                f"{dataset}: none of {names} is below {self.data_root}; put it there, give --root {dataset}=DIR, "
                f"or leave it out with --dataset"
            )
        return found


@dataclass(frozen=True)
class Step:
    """One thing to do, and the file or folder that shows it done."""

    kind: Kind
    dataset: str
    what: str
    target: Path
    done: bool
    images: int
    """Images that a forward is needed for, epochs included."""
    forwards: float
    """Cost in forwards of ``network`` (for ``records``: of all its networks, weighed by ``seconds``)."""
    seconds: float
    """Estimated time; 0 where done."""
    given: bool = False
    """``target`` is a file of ``--weights``, used as it is."""


@dataclass(frozen=True)
class ReproductionPlan:
    """Steps in the order in which they are done, and the triples of every data set."""

    request: Reproduction
    steps: tuple[Step, ...]
    triples: Mapping[str, tuple[str, ...]]
    networks: Mapping[str, str]
    planning_seconds: float
    """What making this plan took."""
    notes: tuple[str, ...] = ()
    """For the report: subsets of the paper's data sets, and what was given instead of trained."""

    @property
    def seconds(self) -> float:
        """Estimated time of what is missing."""
        return sum(s.seconds for s in self.steps)

    def head_of(self, dataset: str, name: str) -> Path | None:
        """File of a network's sigmoid branch; None where the network's own weights hold it."""
        step = next(s for s in self.steps if (s.kind, s.dataset, s.what) == ("head", dataset, name))
        return None if step.given else step.target


def make_plan(request: Reproduction) -> ReproductionPlan:
    """Plan a reproduction; measures one short forward of each network for the estimate, trains nothing.

    Raises:
        UsageError: No such table, data set of the table, or recipe; two networks replaced by the same one; weights
            of another class count; a network in ``out`` that other data, recipe or seed made.
        UnknownNameError: No such network or protocol. DatasetError: A data set that is not there.
    """
    start = time.perf_counter()
    networks, published = _check(request)
    head = load_recipe(HeadRecipe, request.head_recipe)
    steps: list[Step] = []
    triples: dict[str, tuple[str, ...]] = {}
    rates: dict[str, float] = {}
    notes: list[str] = []
    tables = _open_all(request, request.datasets or tuple(dict.fromkeys(published["dataset"])))
    for dataset, (train, test) in tables.items():
        notes += [] if request.limit is not None else _subsets(train, test)
        rows = published[published["dataset"] == dataset]
        wanted = dict.fromkeys(
            f"{networks[b]}/{c}/{h}" for b, c, h in zip(rows["backbone"], rows["cam"], rows["head"], strict=True)
        )
        triples[dataset] = tuple(wanted)
        used = [networks[b] for b in dict.fromkeys(rows["backbone"])]
        for name in used:
            rates[name] = rates.get(name) or _forward_seconds(name, request)
            recipe, per_epoch = request.recipe_of(dataset, name), len(train)
            file, branch = network_file(request, dataset, name), head_file(request, dataset, name)
            given = file in request.weights.values()
            held = given and _holds_sigmoid(file, name, train)
            if given:
                what = "network and its sigmoid branch were" if held else "network was"
                notes.append(f"{dataset}, {name}: the {what} taken from {file.name} (--weights), not trained here.")
            elif file.is_file():
                check_same(file, network_facts(train, recipe, request.seed), load_metadata(file))
            cost = per_epoch * recipe.epochs, TRAINING_FORWARDS, rates[name]
            steps.append(_step("network", dataset, name, file, *cost, given=given))
            cost = per_epoch * (1 if head.augment is None else head.epochs), 1.0, rates[name]
            steps.append(_step("head", dataset, name, file if held else branch, *cost, given=held))
        for protocol in request.protocols:
            out = records_folder(request, dataset, protocol)
            # One forward, and one masked forward a map; equal maps are scored once, so this is the upper end.
            seconds = sum(len(test) * rates[t.split("/")[0]] for t in wanted) + sum(len(test) * rates[n] for n in used)
            done = (out / "leaderboard.md").is_file()
            what = f"{len(wanted)} triples, {protocol}"
            forwards = len(wanted) + len(used)
            steps.append(Step("records", dataset, what, out, done, len(test), forwards, 0.0 if done else seconds))
    return ReproductionPlan(request, tuple(steps), triples, networks, time.perf_counter() - start, tuple(notes))


def _open_all(request: Reproduction, datasets: Sequence[str]) -> dict[str, tuple[SampleTable, SampleTable]]:
    """Train and test of every data set; one ``DatasetError`` names everything that is missing."""
    tables: dict[str, tuple[SampleTable, SampleTable]] = {}
    problems: list[str] = []
    for dataset in datasets:
        try:
            tables[dataset] = (tables_of(request, dataset, "train"), tables_of(request, dataset, "test"))
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        raise DatasetError("\n".join(problems))
    return tables


def _subsets(*tables: SampleTable) -> list[str]:
    counts = {t.split: DATASETS.get(t.name).counts.get(t.split) for t in tables}
    return [
        f"{t.name} {t.split}: {len(t):,} images, published are {counts[t.split]:,}: not the paper's data set"
        for t in tables
        if counts[t.split] not in (None, len(t))
    ]


def _holds_sigmoid(file: Path, name: str, table: SampleTable) -> bool:
    """Whether given weights bring their sigmoid branch; refuses a file of another network or class count."""
    network = open_backbone(name, weights=file)
    if network.num_classes != table.num_classes:
        raise UsageError(
            f"--weights {file}: {network.num_classes} classes, {table.name} has {table.num_classes}: the file is of "
            "another data set"
        )
    return "sigmoid" in network.heads


def tables_of(request: Reproduction, dataset: str, split: str) -> SampleTable:
    """A split of a data set, limited as requested."""
    return open_table(dataset, request.root_of(dataset), split).head(request.limit)


def network_file(request: Reproduction, dataset: str, name: str) -> Path:
    """Checkpoint of a network: the user's, or the one that is trained here."""
    theirs = {ours: k for k, ours in request.substitutes.items()}.get(name, name)
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


def _step(
    kind: Kind, dataset: str, name: str, file: Path, images: int, forwards: float, rate: float, *, given: bool
) -> Step:
    done = file.is_file()
    return Step(kind, dataset, name, file, done, images, forwards, 0.0 if done else images * forwards * rate, given)


def _check(request: Reproduction) -> tuple[dict[str, str], Any]:
    if request.table not in get_args(TableName):
        raise UsageError(f"table {request.table!r}: expected {' or '.join(get_args(TableName))}")
    published = published_table(request.table)
    for name in request.datasets:
        DATASETS.get(name)
        if name not in set(published["dataset"]):
            raise UsageError(f"{request.table} has no data set {name!r}; it has {', '.join(set(published['dataset']))}")
    for protocol in request.protocols:
        PROTOCOLS.get(protocol)
    names = list(dict.fromkeys(published["backbone"]))
    unknown = [n for n in request.substitutes if n not in names]
    if unknown:
        raise UsageError(f"substitute {unknown[0]!r}: {request.table} has {', '.join(names)}")
    networks = {n: request.substitutes.get(n, n) for n in names}
    if len(set(networks.values())) != len(networks):
        raise UsageError("two networks of the table are replaced by the same one; every network needs its own")
    usable = set(request.datasets or published["dataset"])
    for key, file in request.weights.items():
        dataset, slash, name = key.partition("/")
        if not slash or dataset not in usable or name not in {*networks, *networks.values()}:
            raise UsageError(
                f"--weights {key}={file}: expected DATASET/NETWORK=FILE with a data set of {', '.join(sorted(usable))} "
                f"and a network of {', '.join(networks)}"
            )
    strange = sorted(set(request.roots) - set(published["dataset"]))
    if strange:
        raise UsageError(f"--root {strange[0]}=…: {request.table} has {', '.join(dict.fromkeys(published['dataset']))}")
    missing = [f for f in request.weights.values() if not f.is_file()]
    if missing:
        raise UsageError(f"--weights {missing[0]}: no such file")
    return networks, published


def _forward_seconds(name: str, request: Reproduction) -> float:
    """Seconds an image of one forward at 224×224 on the device: the better of two tries, with parameters of 0."""
    device = torch.device(pick_device(request.device))
    # Drawing the parameters of the paper's networks would take longer than the forward; others probe themselves.
    with torch.device("meta" if layout_of(name) else "cpu"):
        network: Backbone = open_backbone(name, pretrained=False)
    network = network.to_empty(device=device)
    for tensor in network.state_dict().values():
        tensor.zero_()
    batch = 1 if device.type == "cpu" else request.batch_size
    images = torch.zeros(batch, 3, 224, 224, device=device)
    best = float("inf")
    with torch.no_grad():
        for _ in range(2):
            start = time.perf_counter()
            float(network(images).sum())
            best = min(best, time.perf_counter() - start)
    return best / batch

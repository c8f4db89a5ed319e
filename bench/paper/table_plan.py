"""What ``cambench reproduce`` has to do: networks to train, heads to train, passes to run, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from ...baselines.backbones import TorchvisionWeights, open_backbone
from ...baselines.contracts import BACKBONES
from ...baselines.weights import load_metadata
from ...datasets.schema import DATASETS, SampleTable
from ...protocol import PROTOCOLS
from ...results.paper import TableName, published_table
from ...results.records.run_folder import TABLES_NAME
from ...triple import TIMM, Triple
from ..host.device import pick_device
from ..host.errors import UsageError
from ..training.estimate import TRAINING_FORWARDS, NetworkCost, measure
from ..training.facts import check_same, head_facts, head_record, network_facts
from ..training.recipes.recipe import HeadRecipe
from ..training.recipes.recipe_files import load_recipe
from .published_splits import PublishedSplit, open_splits, subsets
from .requests import Reproduction

Kind = Literal["network", "head", "records"]


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
    advice: tuple[str, ...] = ()
    """For whoever starts it: what costs more than it must."""
    fetched: Mapping[str, TorchvisionWeights] = field(default_factory=dict)
    """Public weights that are not on this machine yet, by the network that needs them first."""
    missing: tuple[str, ...] = ()
    """Data sets that are not there and what to do about each; the plan then cannot be carried out."""

    @property
    def seconds(self) -> float:
        """Estimated time of what is missing."""
        return sum(s.seconds for s in self.steps)

    def head_of(self, dataset: str, name: str) -> Path | None:
        """File of a network's sigmoid branch; None where the network's own weights hold it."""
        step = next(s for s in self.steps if (s.kind, s.dataset, s.what) == ("head", dataset, name))
        return None if step.given else step.target


def make_plan(request: Reproduction, *, without_data: bool = False) -> ReproductionPlan:
    """Plan a reproduction; measures one short forward of each network for the estimate, trains nothing.

    Args:
        request: What is wanted.
        without_data: Data sets that are not there are planned from their published counts, and said; such a plan is
            to be read, and cannot be carried out.

    Raises:
        UsageError: No such table, data set of the table, or recipe; two networks replaced by the same one; weights
            of another class count; a network or branch in ``out`` that other data, recipe or seed made.
        UnknownNameError: No such network or protocol. DatasetError: A data set that is not there.
    """
    start = time.perf_counter()
    networks, published = _check(request)
    head = load_recipe(HeadRecipe, request.head_recipe)
    steps: list[Step] = []
    triples: dict[str, tuple[str, ...]] = {}
    costs: dict[str, NetworkCost] = {}
    notes, advice = list[str](), list[str]()
    fetched: dict[str, TorchvisionWeights] = {}
    wanted_sets = request.datasets or tuple(dict.fromkeys(published["dataset"]))
    tables, missing = open_splits(request, wanted_sets, without_data=without_data)
    for dataset, (train, test) in tables.items():
        notes += [] if request.limit is not None else subsets(train, test)
        rows = published[published["dataset"] == dataset]
        wanted = dict.fromkeys(
            f"{networks[b]}/{c}/{h}" for b, c, h in zip(rows["backbone"], rows["cam"], rows["head"], strict=True)
        )
        triples[dataset] = tuple(wanted)
        used = [networks[b] for b in dict.fromkeys(rows["backbone"])]
        for name in used:
            if name not in costs:
                costs[name] = measure(name, torch.device(pick_device(request.device)), request.batch_size)
            cost, recipe = costs[name], request.recipe_of(dataset, name)
            file, branch = network_file(request, dataset, name), head_file(request, dataset, name)
            given = file in request.weights.values()
            held = given and _holds_sigmoid(file, name, train)
            if given:
                what = "network and its sigmoid branch were" if held else "network was"
                notes.append(f"{dataset}, {name}: the {what} taken from {file.name} (--weights), not trained here.")
            elif file.is_file() and isinstance(train, SampleTable):
                check_same(file, network_facts(train, recipe, request.seed), load_metadata(file))
            elif recipe.init == "pretrained" and (weights := _not_here(name, fetched)) is not None:
                fetched[name] = weights
            if not held and branch.is_file() and isinstance(train, SampleTable):
                check_same(branch, head_facts(train, head, request.seed), head_record(branch))
            work = len(train) * recipe.epochs, TRAINING_FORWARDS, cost.seconds
            steps.append(_step("network", dataset, name, file, *work, given=given))
            passes = cost.head_passes(len(train), head, request.cache_mb << 20)
            work = len(train) * passes, 1.0, cost.seconds
            steps.append(_step("head", dataset, name, file if held else branch, *work, given=held))
            if passes > 1 and head.augment is None and not steps[-1].done:
                size = -(-len(train) * cost.kept >> 20)
                advice.append(
                    f"{dataset}, {name}: the features of all images take {size:,} MiB; with less memory "
                    f"(--cache-mb {request.cache_mb}) its branch takes {passes} backbone passes, with it one"
                )
        for protocol in request.protocols:
            out = records_folder(request, dataset, protocol)
            # One forward, and one masked forward a map; equal maps are scored once, so this is the upper end.
            seconds = len(test) * sum(costs[n].seconds for n in (*(Triple.parse(t).backbone for t in wanted), *used))
            done = (out / TABLES_NAME / "leaderboard.md").is_file()
            what = f"{len(wanted)} triples, {protocol}"
            forwards = len(wanted) + len(used)
            steps.append(Step("records", dataset, what, out, done, len(test), forwards, 0.0 if done else seconds))
    seconds = time.perf_counter() - start
    return ReproductionPlan(
        request, tuple(steps), triples, networks, seconds, tuple(notes), tuple(advice), dict(fetched), tuple(missing)
    )


def _not_here(name: str, known: Mapping[str, TorchvisionWeights]) -> TorchvisionWeights | None:
    """Public weights of a paper's network that are neither on this machine nor among the ``known``."""
    weights = None if name.startswith(TIMM) else BACKBONES.get(name).pretrained
    if not isinstance(weights, TorchvisionWeights) or weights in known.values() or weights.file.is_file():
        return None
    return weights


def _holds_sigmoid(file: Path, name: str, table: SampleTable | PublishedSplit) -> bool:
    """Whether given weights bring their sigmoid branch; refuses a file of another network or class count."""
    network = open_backbone(name, weights=file)
    if network.num_classes != table.num_classes:
        raise UsageError(
            f"--weights {file}: {network.num_classes} classes, {table.name} has {table.num_classes}: the file is of "
            "another data set"
        )
    return "sigmoid" in network.heads


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

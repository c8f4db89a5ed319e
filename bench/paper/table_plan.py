"""What ``cambench reproduce`` has to do: networks to train, heads to train, passes to run, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from ...baselines.backbones import TorchvisionWeights, open_backbone
from ...baselines.contracts import BACKBONES
from ...baselines.weights import load_metadata
from ...datasets.schema import DatasetError, SampleTable
from ...results.records.run_folder import TABLES_NAME
from ...triple import TIMM, Triple
from ..host.device import pick_device
from ..host.errors import UsageError
from ..maps import MAPS
from ..training.estimate import TRAINING_FORWARDS, NetworkCost, measure
from ..training.facts import check_same, head_facts, head_record, network_facts
from ..training.recipes.recipe import HeadRecipe
from ..training.recipes.recipe_files import load_recipe
from .places import few_shot_drawn, few_shot_file, head_file, network_file, records_folder
from .plan_steps import Kind, ReproductionPlan, Step
from .published_splits import Split, open_splits, published_split, subsets, tables_of
from .requests import Reproduction
from .table_rows import checked_rows
from .wsol_rows import by_boxes


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
    networks, rows = checked_rows(request)
    plan = _Planner(request)
    triples: dict[str, tuple[str, ...]] = {}
    few_shot: dict[str, tuple[str, ...]] = {}
    notes = list[str]()
    wanted_sets = request.datasets or tuple(dict.fromkeys(rows["dataset"]))
    tables, missing = open_splits(request, wanted_sets, without_data=without_data)
    for dataset, (train, test) in tables.items():
        notes += [] if request.limit is not None else subsets(train, test)
        here = rows[rows["dataset"] == dataset]
        wanted = list(dict.fromkeys(_triples(here, networks)))
        used = [networks[b] for b in dict.fromkeys(here["backbone"]) if b != MAPS]
        for name in used:
            plan.network(dataset, name, train)
        if MAPS in set(here["backbone"]):
            bases = list(dict.fromkeys(name.partition("+")[0] for name in used))
            few_shot[dataset] = plan.few_shot(dataset, bases, test, by_boxes(here))
            if not few_shot[dataset]:
                wanted = [t for t in wanted if Triple.parse(t).backbone != MAPS]
        triples[dataset] = tuple(wanted)
        drawn = [name for t in wanted if (name := Triple.parse(t).backbone) != MAPS]
        for protocol in request.protocols:
            plan.records(dataset, protocol, test, drawn, len(wanted), used)
    return ReproductionPlan(
        request,
        tuple(plan.steps),
        triples,
        networks,
        time.perf_counter() - start,
        (*notes, *plan.notes),
        tuple(plan.advice),
        rows,
        few_shot,
        dict(plan.fetched),
        tuple(missing),
    )


class _Planner:
    """Steps as they are found, and what the networks cost."""

    def __init__(self, request: Reproduction) -> None:
        self.request = request
        self.steps: list[Step] = []
        self.notes, self.advice = list[str](), list[str]()
        self.costs: dict[str, NetworkCost] = {}
        self.fetched: dict[str, TorchvisionWeights] = {}

    def cost(self, name: str) -> NetworkCost:
        """Of a network, measured once."""
        if name not in self.costs:
            request = self.request
            self.costs[name] = measure(name, torch.device(pick_device(request.device)), request.batch_size)
        return self.costs[name]

    def network(self, dataset: str, name: str, train: Split) -> None:
        """Steps of a network and of its sigmoid branch; refuses files of ``out`` that other data or recipes made."""
        request = self.request
        head = load_recipe(HeadRecipe, request.head_recipe_name(dataset))
        cost, recipe = self.cost(name), request.recipe_of(dataset, name)
        file, branch = network_file(request, dataset, name), head_file(request, dataset, name)
        given = file in request.weights.values()
        held = given and _holds_sigmoid(file, name, train)
        if given:
            what = "network and its sigmoid branch were" if held else "network was"
            self.notes.append(f"{dataset}, {name}: the {what} taken from {file.name} (--weights), not trained here.")
        elif file.is_file() and isinstance(train, SampleTable):
            check_same(file, network_facts(train, recipe, request.seed), load_metadata(file))
        elif recipe.init == "pretrained" and (weights := _not_here(name, self.fetched)) is not None:
            self.fetched[name] = weights
        if not held and branch.is_file() and isinstance(train, SampleTable):
            check_same(branch, head_facts(train, head, request.seed), head_record(branch))
        work = len(train) * recipe.epochs, TRAINING_FORWARDS, cost.seconds
        self.steps.append(_step("network", dataset, name, file, *work, given=given))
        passes = cost.head_passes(len(train), head, request.cache_mb << 20)
        work = len(train) * passes, 1.0, cost.seconds
        self.steps.append(_step("head", dataset, name, file if held else branch, *work, given=held))
        if passes > 1 and head.augment is None and not self.steps[-1].done:
            size = -(-len(train) * cost.kept >> 20)
            self.advice.append(
                f"{dataset}, {name}: the features of all images take {size:,} MiB; with less memory "
                f"(--cache-mb {request.cache_mb}) its branch takes {passes} backbone passes, with it one"
            )

    def few_shot(self, dataset: str, names: Sequence[str], test: Split, boxes: bool) -> tuple[str, ...]:
        """Steps of the few-shot baselines of networks; none, and a note, where the data has no supervised val."""
        request = self.request
        val, why = _supervised_val(request, dataset, test, boxes)
        if val is None:
            self.notes.append(f"{dataset}: no few-shot baseline, which learns from the boxes or masks of val: {why}")
            return ()
        self.notes += [] if request.limit is not None else subsets(val)
        for name in names:
            recipe, file = request.recipe_of(dataset, name), few_shot_file(request, dataset, name)
            if file.is_file() and isinstance(val, SampleTable):
                check_same(file, network_facts(val, recipe, request.seed), load_metadata(file))
            forwards = TRAINING_FORWARDS * len(val) * recipe.epochs + len(test)
            drawn = few_shot_drawn(request, dataset, name)
            seconds = 0.0 if drawn.is_file() else forwards * self.cost(name).seconds
            images = len(val) * recipe.epochs
            self.steps.append(Step("few_shot", dataset, name, drawn, drawn.is_file(), images, forwards, seconds))
        return tuple(names)

    def records(
        self, dataset: str, protocol: str, test: Split, drawn: Sequence[str], triples: int, used: Sequence[str]
    ) -> None:
        """The step of a run, whose triples are ``drawn`` from their backbones."""
        out = records_folder(self.request, dataset, protocol)
        # One forward, and one masked forward a map; equal maps are scored once, so this is the upper end.
        seconds = len(test) * sum(self.cost(name).seconds for name in (*drawn, *used))
        done = (out / TABLES_NAME / "leaderboard.md").is_file()
        what, forwards = f"{triples} triples, {protocol}", triples + len(used)
        self.steps.append(Step("records", dataset, what, out, done, len(test), forwards, 0.0 if done else seconds))


def _supervised_val(request: Reproduction, dataset: str, test: Split, boxes: bool) -> tuple[Split | None, str]:
    """The val split, where it has what the few-shot baseline learns from; else None, and why."""
    if not isinstance(test, SampleTable):
        return published_split(request, dataset, "val"), ""
    try:
        val = tables_of(request, dataset, "val")
    except DatasetError as error:
        return None, str(error)
    if val.has_boxes if boxes else val.has_masks:
        return val, ""
    return None, f"val has no {'boxes' if boxes else 'masks'}"


def _triples(rows: pd.DataFrame, networks: Mapping[str, str]) -> list[str]:
    return [f"{networks[b]}/{c}/{h}" for b, c, h in zip(rows["backbone"], rows["cam"], rows["head"], strict=True)]


def _not_here(name: str, known: Mapping[str, TorchvisionWeights]) -> TorchvisionWeights | None:
    """Public weights of a paper's network that are neither on this machine nor among the ``known``."""
    weights = None if name.startswith(TIMM) else BACKBONES.get(name).pretrained
    if not isinstance(weights, TorchvisionWeights) or weights in known.values() or weights.file.is_file():
        return None
    return weights


def _holds_sigmoid(file: Path, name: str, table: Split) -> bool:
    """Whether given weights bring their sigmoid branch; refuses a file of another network or class count."""
    network = open_backbone(name, weights=file)
    if network.num_classes != table.num_classes:
        raise UsageError(
            f"--weights {file}: {network.num_classes} classes, {table.name} has {table.num_classes}: the file is of "
            "another data set"
        )
    return "sigmoid" in network.heads


def _step(
    kind: Kind, dataset: str, name: str, file: Path, images: int, forwards: float, rate: float, *, given: bool
) -> Step:
    done = file.is_file()
    return Step(kind, dataset, name, file, done, images, forwards, 0.0 if done else images * forwards * rate, given)

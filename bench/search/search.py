"""``cambench search``: seeded random search of a training's rate and method parameters (Choe et al., CVPR 2020).

The records of the trials are the search: what is drawn depends on the seed and the trial's number alone, so trials may
be done in any order, by any number of processes on one folder, and after any interruption.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from ...atomic import write_text
from ...baselines.wsol import PLAIN, WsolError, split_name
from ...datasets.schema import SampleTable
from ...protocol import PROTOCOLS
from ...results.scores import METRICS
from ..host.device import pick_device
from ..host.errors import RunError, UsageError
from ..training.estimate import TRAINING_FORWARDS, measure
from ..training.recipe_choice import with_recipe
from ..training.recipes.method_recipes import parsed_method
from ..training.recipes.recipe import BackboneRecipe
from .search_request import SearchRequest
from .search_tables import search_files
from .space import Ranges, Values, drawn, method_class, quiet_optuna, recipe_with, shown_range, space_of
from .trial import TrialJob, TrialRecord, do_trial, proxy_of, shown

MANIFEST, FOUND = "search.json", "found.yaml"
Say = Callable[[str], None]


@dataclass(frozen=True)
class SearchPlan:
    """A search, before anything of it is done or continued."""

    job: TrialJob
    recipe: BackboneRecipe
    space: Ranges
    fixed: dict[str, Any]
    facts: dict[str, Any]
    """What must agree for a search to continue in its folder."""
    judged: SampleTable
    seconds: float
    """Estimated time of what is missing, in one process."""

    def values(self, number: int) -> Values:
        """What trial ``number`` draws."""
        return drawn(self.space, self.job.request.seed, number, self.fixed)

    def recipe_of(self, number: int) -> BackboneRecipe:
        """The recipe of trial ``number``."""
        recipe = self.recipe
        return recipe_with(recipe, self.values(number), f"{recipe.name}#{number}", recipe.source)

    def shown(self, number: int) -> str:
        """What trial ``number`` draws, in a line."""
        return shown(self.values(number))

    @property
    def records(self) -> list[TrialRecord]:
        """Of the finished trials."""
        found = map(self.job.record, range(self.job.request.trials))
        return [record for record in found if record is not None]

    def lines(self) -> list[str]:
        """The plan in words."""
        request, records = self.job.request, len(self.records)
        made = f"{self.job.network} on {len(self.job.table):,} images, {self.recipe.epochs} epochs each"
        where = f"{request.dataset} {request.split} ({len(self.judged):,} images)"
        given = ", ".join(f"{name} {value}" for name, value in self.fixed.items())
        return [
            f"{request.trials} trials ({records} done): {made}; judged by "
            f"{self.job.metric} of {self.job.cam} on {where}, protocol {request.protocol}",
            *(f"  draws {shown_range(name, ends)}" for name, ends in self.space.items()),
            *([f"  fixed: {given}"] if given else []),
        ]


def make_search(request: SearchRequest) -> SearchPlan:
    """Plan a search; opens the data and measures one forward of the network, trains nothing.

    Raises:
        UsageError: The folder holds another search; the method cannot change the network; nothing can be drawn.
        UnknownNameError, DatasetError: A name that nothing has; data that is not there.
    """
    request, recipe = with_recipe(request)
    protocol = PROTOCOLS.get(request.protocol)
    if not recipe.epochs:
        raise UsageError(f"recipe {recipe.name} trains nothing, so there is nothing to search; choose one that trains")
    method = method_class(recipe)
    fixed = parsed_method(request.method)[1] if request.method else {}
    space = space_of(method, request.lr, fixed)
    base, _ = split_name(request.backbone)
    network = base if method.name == PLAIN else f"{base}+{method.name}"
    whole = request.source.of("train").open().head(request.limit)
    judged = request.source.open().head(request.limit)
    table = proxy_of(whole, request.proxy, request.seed)
    metric = ("max_box_acc_v2" if judged.has_boxes else "pxap") if request.metric == "auto" else request.metric
    device = pick_device(request.device)
    job = TrialJob(request, network, method.cam, metric, table, device)
    with quiet_optuna() as optuna:
        version = optuna.__version__
    facts = {
        "network": network,
        "recipe": recipe.digest,
        "space": json.loads(json.dumps(space)),
        "fixed": fixed,
        "seed": request.seed,
        "train": table.fingerprint,
        "judged": judged.fingerprint,
        "protocol": protocol.digest,
        "metric": metric,
        "weights": None if request.weights is None else request.weights.name,
        "optuna": version,
    }
    _check_folder(request.out, facts)
    forwards = TRAINING_FORWARDS * recipe.epochs * len(table) + 2 * len(judged)
    try:
        each = forwards * measure(network, torch.device(device), request.batch_size).seconds
    except WsolError as error:
        raise UsageError(str(error)) from None
    missing = sum(job.record(number) is None for number in range(request.trials))
    return SearchPlan(job, recipe, space, fixed, facts, judged, each * missing)


def search(plan: SearchPlan, say: Say = lambda _: None) -> list[Path]:
    """Do the trials that are missing and that no other process is at work on; write the tables and the found recipe.

    Args:
        plan: From ``make_search``. say: Told what became of each trial.

    Returns:
        ``search.md``, ``search.csv``, and, once all trials are done, ``found.yaml``, a recipe.

    Raises:
        RunError: All trials failed; says why. Otherwise what concerns every trial: data, memory, disk.
    """
    job, request = plan.job, plan.job.request
    request.out.mkdir(parents=True, exist_ok=True)
    if not (request.out / MANIFEST).is_file():
        write_text(request.out / MANIFEST, json.dumps(plan.facts, indent=1) + "\n")
    busy = [
        number
        for number in range(request.trials)
        if job.record(number) is None and not do_trial(job, number, plan.values(number), plan.recipe_of(number), say)
    ]
    records = plan.records
    if busy:
        say(f"other processes are at work on trials {', '.join(map(str, busy))}; the last of them writes the result")
    best = chosen(records, higher_is_better(job.metric))
    if best is None and not busy:
        raise RunError(_all_failed(records))
    paths = search_files(plan.lines(), records, best, job.metric, request.out)
    if best is not None and not busy:
        write_text(request.out / FOUND, _found(plan, best))
        paths.append(request.out / FOUND)
    return paths


def chosen(records: list[TrialRecord], higher: bool) -> TrialRecord | None:
    """The best of the finished trials, the first of equals; None where all failed."""
    scores = {record.number: record.score for record in records if record.score is not None}
    finished = [record for record in records if record.number in scores]
    return max(finished, key=lambda record: scores[record.number] * (1 if higher else -1), default=None)


def higher_is_better(metric: str) -> bool:
    """Whether a higher score is a better one."""
    return next(known for known in METRICS if known.name == metric).higher_is_better


def _check_folder(out: Path, facts: dict[str, Any]) -> None:
    if not (out / MANIFEST).is_file():
        return
    found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    for key, value in facts.items():
        if found.get(key) != value:
            raise UsageError(
                f"{out} holds a search with another {key} ({found.get(key)}, now {value}); choose another --out"
            )


def _all_failed(records: list[TrialRecord]) -> str:
    reasons: dict[str, list[str]] = {}
    for record in records:
        reasons.setdefault(record.why, []).append(str(record.number))
    lines = "\n".join(f"  trial{'s' * (len(n) > 1)} {', '.join(n)}: {why}" for why, n in reasons.items())
    return (
        f"all {len(records)} trials failed, so nothing can be chosen:\n{lines}\n"
        "Narrow what is drawn (--lr LOW,HIGH; a parameter fixed after --method), under another --out"
    )


def _found(plan: SearchPlan, best: TrialRecord) -> str:
    """The chosen recipe as YAML, with where its values come from."""
    request = plan.job.request
    judged = f"{plan.job.metric} {best.score:.2f} on {request.dataset} {request.split}, last checkpoint"
    source = (
        f"{plan.recipe.source.strip()} Rate and parameters: trial {best.number} of {request.trials} of cambench "
        f"search, seed {request.seed}: {judged}."
    )
    recipe = recipe_with(plan.recipe, best.parameters, f"{plan.recipe.name}-found", source)
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=120)
    return text

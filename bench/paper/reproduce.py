"""``cambench reproduce``: from data folders and ImageNet weights to the paper's table beside ours.

Every step leaves a file that shows it done, and the steps themselves continue where they stopped (an epoch of a
network, a shard of records), so the same command may be interrupted anywhere and given again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ...atomic import write_text
from ...baselines.backbones import features_digest, open_backbone
from ...datasets.schema import DatasetError
from ...results.paper import ReproductionEntry, write_reproduction, write_wsol
from ...results.records.load import load_run
from ...triple import Triple
from ..engine.planning.config import RunConfig
from ..host.device import pick_device
from ..host.errors import UsageError
from ..host.memory import BatchMemoryError
from ..maps import MAPS
from ..notebook.runs import run
from ..training.facts import check_same, head_facts, head_record
from ..training.head import save_head, train_head
from ..training.head_cache import EARLIER, WHENCE, cached_head, keep_head, take_kept
from ..training.into_file import train_into
from ..training.means import Means
from ..training.recipes.recipe import HeadRecipe
from ..training.recipes.recipe_files import load_recipe
from .few_shot import FewShot
from .places import few_shot_drawn, few_shot_file, few_shot_folder, network_file, records_folder
from .plan_steps import ReproductionPlan, Step
from .published_splits import tables_of
from .requests import WSOL_TABLE, Reproduction
from .wsol_rows import by_boxes, few_shot_maps

Say = Callable[[str], None]


def reproduce(plan: ReproductionPlan, say: Say = lambda _: None) -> list[Path]:
    """Do what is missing and write the report (Markdown, LaTeX, CSV); returns its files.

    Args:
        plan: From ``make_plan``. say: Told each step before it starts.

    Raises:
        UsageError: A file of ``out`` belongs to another reproduction (recipe, seed or data); several processes.
        DatasetError, WeightsError, ResultsError, RunError: Data, weights or folders that cannot be used.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "reproduce runs in one process: train the networks with `torchrun … -m cambench train backbone` first, and "
            "give them with --weights DATASET/NETWORK=FILE"
        )
    if plan.missing:
        raise DatasetError("\n".join(plan.missing))
    # All of them first: hours of training must not end at a download that was bound to fail.
    for name, weights in plan.fetched.items():
        say(f"fetch {weights.name} for {name}")
        weights.fetch(name)
    request, clock = plan.request, Clock()
    for step in plan.steps:
        say(describe(step))
        with clock.part(step):
            _DO[step.kind](plan, step, say)
    entries = [
        ReproductionEntry(dataset, protocol, load_run(records_folder(request, dataset, protocol)), plan.networks)
        for dataset in plan.triples
        for protocol in request.protocols
    ]
    notes = list(plan.notes)
    if request.limit is not None:
        notes.append(f"Only the first {request.limit} images of every split were used: a trial, not a reproduction.")
    if request.table == WSOL_TABLE:
        paths = write_wsol(plan.rows, entries, request.out, resamples=request.resamples, notes=notes)
    else:
        paths = write_reproduction(request.table, entries, request.out, resamples=request.resamples, notes=notes)
    clock.write(request.out / "times.json", plan.planning_seconds)
    return paths


class Clock:
    """What each step took, and what the reproduction took beside its steps."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._steps: list[dict[str, object]] = []
        self._parts = 0.0

    @contextmanager
    def part(self, step: Step) -> Iterator[None]:
        """Time a step: opening data and network, the work, and writing it, as its own command would do."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self._parts += seconds
        facts = {"kind": step.kind, "dataset": step.dataset, "what": step.what, "there_already": step.done}
        self._steps.append({**facts, "estimated_s": step.seconds, "seconds": seconds})

    def write(self, file: Path, planning: float) -> None:
        """``steps`` with their estimated and measured seconds; ``beside_s``: plan, report and all between the steps."""
        beside = planning + time.perf_counter() - self._start - self._parts
        content = {"steps": self._steps, "steps_s": self._parts, "beside_s": beside, "planning_s": planning}
        write_text(file, json.dumps(content, indent=1) + "\n")


def describe(step: Step) -> str:
    """A step in one line."""
    if step.given:
        what = "sigmoid branch of " if step.kind == "head" else ""
        return f"{step.dataset}: take {what}{step.what} from {step.target} (--weights)"
    verb = _VERBS[step.kind]
    if step.kind == "network" and not step.images:
        verb = "take the public weights of"
    return f"{step.dataset}: {verb} {step.what}" + (" (there already)" if step.done else "")


def _means(request: Reproduction) -> Means:
    """With what it trains."""
    cache = request.cache_mb << 20
    return Means(pick_device(request.device), progress=True, workers=request.workers, cache_bytes=cache)


_VERBS = {
    "network": "train network",
    "head": "train sigmoid branch of",
    "few_shot": "train on val, with boxes or masks, and draw the foreground by",
    "records": "evaluate",
}


def _network(plan: ReproductionPlan, step: Step, say: Say) -> None:
    if step.given:
        return
    request = plan.request
    recipe, table = request.recipe_of(step.dataset, step.what), tables_of(request, step.dataset, "train")
    alone = f"cambench train backbone --recipe {request.recipe_name(step.dataset, step.what)}"
    try:
        train_into(
            step.target,
            step.what,
            table,
            recipe,
            _means(request),
            seed=request.seed,
            epoch_done=lambda epoch, loss, top1: say(
                f"  epoch {epoch + 1} of {recipe.epochs}: loss {loss:.4f}, top-1 {top1:.1f} % (training images)"
            ),
        )
    except BatchMemoryError as error:
        raise BatchMemoryError(
            f"{error}. That is an option of `{alone}`: train it so, and give its file with "
            f"--weights {step.dataset}/{step.what}=FILE",
            error.fits,
        ) from None


def _head(plan: ReproductionPlan, step: Step, say: Say) -> None:
    if step.given:
        return
    request = plan.request
    recipe = load_recipe(HeadRecipe, request.head_recipe_name(step.dataset))
    table = tables_of(request, step.dataset, "train")
    network = open_backbone(step.what, weights=network_file(request, step.dataset, step.what))
    facts = {**head_facts(table, recipe, request.seed), "features_sha256": features_digest(network)}
    if step.target.is_file():
        check_same(step.target, facts, head_record(step.target))
        return
    step.target.parent.mkdir(parents=True, exist_ok=True)
    where = torch.device(pick_device(request.device))
    cached = cached_head(network, "sigmoid", table, recipe, request.seed, where)
    if (earlier := take_kept(cached, network, "sigmoid")) is not None:
        say(f"  {EARLIER}, taken from {cached}")
        save_head(step.target, network.head("sigmoid"), "sigmoid", {**earlier, WHENCE: EARLIER, **facts})
        return
    try:
        means = replace(_means(request), pass_batch=request.batch_size, state_file=step.target.with_suffix(".training"))
        record = train_head(network, table, recipe, "sigmoid", means, seed=request.seed)
    except BatchMemoryError as error:
        raise BatchMemoryError(f"{error} (here: --batch-size)", error.fits) from None
    made = record.model_dump(mode="json")
    save_head(step.target, network.head("sigmoid"), "sigmoid", {**made, **facts})
    keep_head(cached, network, "sigmoid", made)
    step.target.with_suffix(".training").unlink(missing_ok=True)


def _few_shot(plan: ReproductionPlan, step: Step, say: Say) -> None:
    request = plan.request
    recipe, val = request.recipe_of(step.dataset, step.what), tables_of(request, step.dataset, "val")
    test = tables_of(request, step.dataset, "test")
    boxes = by_boxes(plan.rows[plan.rows["dataset"] == step.dataset])
    baseline = FewShot(step.what, recipe, val, not boxes, request.seed, pick_device(request.device), request.workers)
    facts = {"test": test.fingerprint, **baseline.facts}
    done = few_shot_drawn(request, step.dataset, step.what)
    if done.is_file():
        check_same(done, facts, json.loads(done.read_text(encoding="utf-8")))
        return
    network = baseline.train(
        few_shot_file(request, step.dataset, step.what),
        lambda epoch, loss: say(f"  epoch {epoch + 1} of {recipe.epochs}: loss {loss:.4f}"),
    )
    baseline.draw(network, test, few_shot_folder(request, step.dataset, step.what))
    write_text(done, json.dumps(facts, indent=1) + "\n")


def _records(plan: ReproductionPlan, step: Step, say: Say) -> None:
    del say
    request = plan.request
    names = [n for n in dict.fromkeys(Triple.parse(t).backbone for t in plan.triples[step.dataset]) if n != MAPS]
    source = request.source_of(step.dataset, "test")
    drawn = {few_shot_maps(n): few_shot_folder(request, step.dataset, n) for n in plan.few_shot.get(step.dataset, ())}
    heads = {n: plan.head_of(step.dataset, n) for n in names}
    run(
        RunConfig.create(
            dataset=step.dataset,
            root=source.root,
            options=source.options,
            triples=plan.triples[step.dataset],
            protocol=step.target.name,
            out=step.target,
            limit=request.limit,
            device=request.device,
            weights={n: network_file(request, step.dataset, n) for n in names},
            head_weights={n: file for n, file in heads.items() if file is not None},
            head_recipe=request.head_recipe_name(step.dataset),
            maps=drawn,
            seed=request.seed,
            batch_size=request.batch_size,
            workers=request.workers,
            dtype=request.dtype,
            metrics=(),
        )
    )


_DO: dict[str, Callable[[ReproductionPlan, Step, Say], None]] = {
    "network": _network,
    "head": _head,
    "few_shot": _few_shot,
    "records": _records,
}

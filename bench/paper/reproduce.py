"""``cambench reproduce``: from data folders and ImageNet weights to the paper's table beside ours.

Every step leaves a file that shows it done, and the steps themselves continue where they stopped (an epoch of a
network, a shard of records), so the same command may be interrupted anywhere and given again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...atomic import write_text
from ...baselines.backbones import features_digest, open_backbone
from ...consoles import out
from ...datasets.schema import DatasetError
from ...results.paper import ReproductionEntry, write_reproduction, write_wsol
from ...results.records.load import load_run
from ...triple import Triple
from ..engine.planning.config import RunConfig
from ..executors.crew import is_launch, placed, share
from ..executors.run_worker import Ending
from ..host.device import device_of_rank, pick_device
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
from .shared_steps import SharedSteps, folder_of
from .step_times import Clock
from .table_plan import make_plan
from .wsol_rows import by_boxes, few_shot_maps

Say = Callable[[str], None]


def reproduce(plan: ReproductionPlan, say: Say = lambda _: None) -> list[Path]:
    """Do what is missing and write the report (Markdown, LaTeX, CSV); returns its files.

    Of several processes that share the steps the last one writes the report; the others return nothing.

    Args:
        plan: From ``make_plan``. say: Told each step before it starts.

    Raises:
        UsageError: A file of ``out`` belongs to another reproduction (recipe, seed or data); an engine that is not
            installed.
        RunLockedError: Another command is at work on ``out``.
        DatasetError, WeightsError, ResultsError, RunError: Data, weights or folders that cannot be used.
    """
    request, launched = plan.request, is_launch(plan.request)
    if plan.missing:
        raise DatasetError("\n".join(plan.missing))
    # All of them first: hours of training must not end at a download that was bound to fail.
    for name, weights in plan.fetched.items():
        say(f"fetch {weights.name} for {name}")
        weights.fetch(name)
    if launched:
        asked, numbers = placed(request)
        reports = share(reproduce_job, asked, numbers, asked.out, lambda: False)
        return next(list(report.paths) for report in reports if report.paths)
    with folder_of(request.out) as (lock, world):
        clock = Clock()

        def do(step: Step) -> None:
            say(describe(step))
            with clock.part(step):
                _DO[step.kind](plan, step, say)

        SharedSteps(plan, lock, world, do).work_off()
        with lock.turn():
            clock.write(request.out / "times.json", plan.planning_seconds, shared=world > 1)
            if world > 1 and lock.others_at_work():
                # Before the next one has its turn, so that exactly one finds itself alone.
                lock.release()
                return []
        return _report(plan)


def reproduce_job(fields: dict[str, Any]) -> Ending:
    """A worker's part of a ``Reproduction``."""
    paths = reproduce(
        make_plan(Reproduction.create(**fields)), lambda line: out.print(line, soft_wrap=True, markup=False)
    )
    return Ending(closed=bool(paths), paths=tuple(paths))


def _report(plan: ReproductionPlan) -> list[Path]:
    request = plan.request
    entries = [
        ReproductionEntry(dataset, protocol, load_run(records_folder(request, dataset, protocol)), plan.networks)
        for dataset in plan.triples
        for protocol in request.protocols
    ]
    notes = list(plan.notes)
    if request.limit is not None:
        notes.append(f"Only the first {request.limit} images of every split were used: a trial, not a reproduction.")
    if request.table == WSOL_TABLE:
        return write_wsol(plan.rows, entries, request.out, resamples=request.resamples, notes=notes)
    return write_reproduction(request.table, entries, request.out, resamples=request.resamples, notes=notes)


def describe(step: Step) -> str:
    """A step in one line."""
    if step.given:
        what = "sigmoid branch of " if step.kind == "head" else ""
        return f"{step.dataset}: take {what}{step.what} from {step.target} (--weights)"
    verb = _VERBS[step.kind]
    if step.kind == "network" and not step.images:
        verb = "take the public weights of"
    return f"{step.dataset}: {verb} {step.what}" + (" (there already)" if step.done else "")


def _device(request: Reproduction) -> str:
    """Where this process trains."""
    return device_of_rank(pick_device(request.device))


def _means(request: Reproduction) -> Means:
    """With what it trains."""
    cache = request.cache_mb << 20
    return Means(_device(request), progress=True, workers=request.workers, cache_bytes=cache)


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
    where = torch.device(_device(request))
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
    baseline = FewShot(step.what, recipe, val, not boxes, request.seed, _device(request), request.workers)
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

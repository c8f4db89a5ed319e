"""``cambench train head``: a head into a file, from the cache where this very training was done before."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...baselines.contracts import Backbone
from ...datasets.schema import SampleTable
from .head import save_head, train_head
from .head_cache import WHENCE, cached_head, drawn_data, keep_head, known_head
from .means import Means
from .recipes.recipe import HeadRecipe
from .record import HeadTrainingRecord
from .request import REQUEST, HeadTraining
from .top1 import top1


def head_into(
    request: HeadTraining, network: Backbone, tables: Sequence[SampleTable], recipe: HeadRecipe, means: Means
) -> tuple[HeadTrainingRecord, str]:
    """Write the branch that is asked for to ``request.out``; its record, and where it was taken from ("": trained now).

    Curves, accuracies after every epoch and a training that was cut are no business of the cache: they are trained.

    Args:
        request: What is trained. network: With its softmax head. tables: To train on, and to evaluate on.
        recipe: How. means: With what.

    Raises:
        Exception: As ``train_head`` and ``save_head``.
    """
    branch, where, table = request.branch, torch.device(means.device), tables[0]
    evaluated = tables[1] if len(tables) > 1 else None
    asked = {REQUEST: request.digest}
    # Before the training, which a softmax branch's key is not to see the result of.
    cached = cached_head(network, branch, table, recipe, request.seed, where)
    anew = request.retrain or request.each_epoch or request.tensorboard is not None or request.state_file.exists()
    if not anew:
        whole = request.split == "train" and request.limit is None
        data = drawn_data(table, request.options) if whole else None
        known = known_head(network, branch, table, recipe, request.seed, where, data=data)
        if known is not None:
            record = _evaluated(request, network, evaluated, recipe, known)
            whence = str(known[WHENCE])
            facts = {**record.model_dump(mode="json"), WHENCE: whence}
            save_head(request.out, network.head(branch), branch, facts, **asked)
            return record, whence
    record = train_head(
        network,
        table,
        recipe,
        branch,
        means,
        seed=request.seed,
        evaluate=evaluated,
        each_epoch=request.each_epoch,
    )
    made = record.model_dump(mode="json")
    save_head(request.out, network.head(branch), branch, made, **asked)
    request.state_file.unlink(missing_ok=True)
    keep_head(cached, network, branch, made)
    return record, ""


def _evaluated(
    request: HeadTraining, network: Backbone, table: SampleTable | None, recipe: HeadRecipe, known: dict[str, object]
) -> HeadTrainingRecord:
    """The record of a known head, with its accuracy on the split that is asked for now."""
    found: dict[str, float] = {}
    if table is not None:
        network.to(request.where)
        accuracies = top1(network, table, recipe.size, request.where, request.workers)
        found = {name: value for name, value in accuracies.items() if name in ("softmax", request.branch)}
    facts = {name: known[name] for name in HeadTrainingRecord.model_fields if name in known}
    changed = {"eval_top1": found, "eval_fingerprint": None if table is None else table.fingerprint, "epoch_top1": ()}
    return HeadTrainingRecord.model_validate({**facts, **changed})

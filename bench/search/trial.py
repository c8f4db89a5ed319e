"""One trial of a search: trained on the proxy set, judged by its last checkpoint, recorded in its own folder."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from ...atomic import write_text
from ...baselines.weights import load_metadata
from ...datasets.schema import SampleTable
from ...results.records.locks import FolderLock
from ...results.records.record_errors import RunLockedError
from ...results.scores import score_run
from ..engine.planning.config import RunConfig
from ..host.errors import NothingComputedError, UsageError
from ..host.options import DataOptions, PluginOptions
from ..notebook.runs import IncompleteRunError, run
from ..training.into_file import train_into
from ..training.means import Means
from ..training.recipes.recipe import BackboneRecipe
from ..training.steps.guard import TrainingDivergedError
from .search_request import SearchRequest
from .space import Values

RECORD = "trial.json"


class TrialRecord(BaseModel):
    """What became of a trial.

    Attributes:
        number: From 0. parameters: What was drawn. state: ``complete`` or ``failed``. why: Of a failed one.
        score: On the judged split, in the metric's unit. top1: Percent on the training images, in the last epoch.
        loss: Mean over the last epoch, nats. seconds: Wall time of the process that finished it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int
    parameters: dict[str, int | float]
    state: Literal["complete", "failed"]
    why: str = ""
    score: float | None = None
    top1: float | None = None
    loss: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a search share.

    Attributes:
        request: With everything filled in. network: Name of the trained network, with the method's suffix.
        cam: CAM method by which it is judged. metric: Name of the score. table: The proxy training set.
        device: Where to compute.
    """

    request: SearchRequest
    network: str
    cam: str
    metric: str
    table: SampleTable
    device: str

    def folder(self, number: int) -> Path:
        """Of a trial."""
        return self.request.out / "trials" / f"{number:04d}"

    def record(self, number: int) -> TrialRecord | None:
        """What became of a trial; None where it is not finished. UsageError where the file is damaged."""
        file = self.folder(number) / RECORD
        if not file.is_file():
            return None
        try:
            return TrialRecord.model_validate_json(file.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError):
            raise UsageError(f"{file}: damaged; delete it, and the trial is judged again") from None


def proxy_of(table: SampleTable, share: float, seed: int) -> SampleTable:
    """A table with ``share`` of each class's rows, rounded up, drawn by ``seed``, in their order."""
    if share == 1:
        return table
    labels = torch.tensor(table.rows["label"][:])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    kept: list[int] = []
    for label in labels.unique().tolist():
        rows = order[labels[order] == label]
        kept += rows[: math.ceil(share * len(rows))].tolist()
    return replace(table, rows=table.rows.select(sorted(kept)), fingerprint=f"{table.fingerprint}:proxy={share}:{seed}")


def do_trial(job: TrialJob, number: int, values: Values, recipe: BackboneRecipe, say: Callable[[str], None]) -> bool:
    """Train and judge a trial that has no record; False where another process is at work on it.

    Raises:
        UsageError, DatasetError, RunError: What concerns every trial, and is no failure of this one.
    """
    folder = job.folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FolderLock(folder)
    except RunLockedError:
        return False
    try:
        # Another process may have finished it since the look that led here.
        if job.record(number) is None:
            record = _done(job, number, values, recipe)
            write_text(folder / RECORD, record.model_dump_json(indent=1) + "\n")
            score = "failed" if record.score is None else f"{job.metric} {record.score:.2f}"
            say(f"trial {number}: {score}, {shown(values)}")
    finally:
        lock.release()
    return True


def shown(values: Values) -> str:
    """A trial's values in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _done(job: TrialJob, number: int, values: Values, recipe: BackboneRecipe) -> TrialRecord:
    start, request = time.perf_counter(), job.request
    file = job.folder(number) / "network.safetensors"
    record = TrialRecord(number=number, parameters=values, state="failed")
    try:
        train_into(
            file,
            request.backbone,
            job.table,
            recipe,
            Means(job.device, cache_bytes=request.cache_mb << 20, workers=request.workers),
            seed=request.seed,
            weights=request.weights,
        )
        trained = json.loads(load_metadata(file)["record"])
        judged = run(_judgement(job, number, file)).run
    except (TrainingDivergedError, IncompleteRunError, NothingComputedError) as error:
        return record.model_copy(update={"why": str(error), "seconds": time.perf_counter() - start})
    score = score_run(judged).scores[judged.triples[0]].get(job.metric)
    if score is None:
        raise UsageError(f"{request.dataset} {request.split} gives no {job.metric}: choose another --metric")
    facts = {"score": score, "top1": trained["train_top1"][-1], "loss": trained["losses"][-1]}
    return record.model_copy(update={"state": "complete", **facts, "seconds": time.perf_counter() - start})


def _judgement(job: TrialJob, number: int, file: Path) -> RunConfig:
    request = job.request
    return RunConfig.create(
        **request.part(DataOptions, PluginOptions),
        triples=(f"{job.network}/{job.cam}/softmax",),
        protocol=request.protocol,
        weights={job.network: file},
        out=job.folder(number) / "run",
        limit=request.limit,
        device=job.device,
        batch_size=request.batch_size,
        workers=request.workers,
        metrics=(),
        keep_maps=False,
    )

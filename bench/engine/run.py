"""A run from configuration to tables: plan, prepare, one pass per backbone, records, leaderboard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import torch

from ...baselines.contracts import BACKBONES, Backbone, Branch
from ...consoles import err as console
from ...datasets.batches import DecodedCache, decoding_rates, fewest, with_decoded_cache
from ...datasets.schema import SampleTable
from ...datasets.tables import cache_root
from ...metrics.functional.kernels.ahead import begin as compile_kernels
from ...plugins import load_plugin
from ...results.records.described import BranchRecord
from ...results.records.load import load_run
from ...results.records.record_errors import ResultsError
from ...results.records.store import RunStore
from ...results.records.timings import Timings
from ...results.scores import merge_runs
from ...results.statistics import KnownStanding
from ...results.tables.terminal import score_table
from ...text import visible
from ..host.allocator import keep_freed_memory
from ..host.device import device_of_rank, pick_device
from ..host.errors import NothingComputedError, RunError
from .again import given_again
from .backbone_pass import PassRequest, run_bare_pass, run_pass
from .from_records import tabled
from .head_keeper import HeadKeeper, TrainedElsewhereError
from .networks import backbone_record, bare_record, same_numbers
from .outcome import Done
from .planning.config import RunConfig
from .planning.plan import BackbonePlan
from .prepare import prepare
from .scoring.clock import StageClock
from .scoring.losses import Culprit, is_loss
from .scoring.pass_boxes import BoxEngine

POLL_S = 0.5
"""Seconds after which a process that has nothing else to do looks again whether others are through."""
_THROUGH = object()


def run(config: RunConfig) -> Done:
    """Benchmark triples on a data set; continue where an earlier run on the same folder stopped.

    A method, metric or network of the user that fails is lost alone; all others are computed, recorded and tabled.

    Raises:
        UsageError: The request is wrong (impossible triple).
        UnknownNameError: A name that nothing has; the message lists the nearest ones.
        DatasetError, WeightsError, ResultsError, RunError: Data, weights or folder that cannot be used.
    """
    for file in config.plugins:
        load_plugin(file)
    config = with_workers(config)
    compile_kernels()
    device = torch.device(device_of_rank(pick_device(config.device)))
    keep_freed_memory()
    with same_numbers(device, config.dtype):
        return _Runner(config, device).run()


def with_workers(config: RunConfig) -> RunConfig:
    """The request with its decoding threads, which are measured on its images where it says ``auto``.

    Raises:
        DatasetError: As the data set's ``open``.
    """
    if config.workers:
        return config
    table, rules = config.source.open().head(config.limit), config.protocol_object
    if not len(table):
        return config.model_copy(update={"workers": 1})
    rates = decoding_rates(table, rules.size, rules.crop_from)
    said = ", ".join(f"{number}: {rate:.0f}" for number, rate in rates.items())
    console.print(f"--workers {fewest(rates)} (images/s by decoding threads: {said})", markup=False, soft_wrap=True)
    return config.model_copy(update={"workers": fewest(rates)})


class _Runner:
    """State of one run while it goes on."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.rank, self.world = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1)))
        self.clock = StageClock(device)
        self.durations: dict[str, float] = {}
        self.timings = Timings()
        self.lost: dict[str, str] = {}
        self.known, self._to_come = KnownStanding(), 0

    def run(self) -> Done:
        started = time.monotonic()
        config = self.config
        ready = prepare(config, self.device, self.world, self._say)
        plans, bare, networks = ready.plans, ready.bare, ready.networks
        if self.world > 1 and given_again(config):
            return Done(load_run(config.out), (), others_at_work=True)
        with RunStore.open(
            config.out, ready.manifest, rank=self.rank, world_size=self.world, lock=config.lock
        ) as store:
            self._say(f"{what}: its files were changed; what it made is computed anew" for what in store.recoded)
            self.durations["prepare"] = time.monotonic() - started
            boxes = BoxEngine(config.box_engine, self.device)
            table = self._with_kept_images(ready.table)
            request = PassRequest(config, store, table, ready.measures, boxes, self.clock, self.rank, self.world)
            self._to_come = len(plans) + bool(bare.triples)
            work = [
                self._backbone(request, ready.keeper, networks.pop(name), plan, ready.branches[name])
                for name, plan in plans.items()
            ]
            _in_turns([*work, self._bare(request, bare)] if bare.triples else work)
            if isinstance(table.decoded, DecodedCache):
                self._say([table.decoded.told()])
                table.decoded.close()
            self.durations["total"] = time.monotonic() - started
            store.finish(durations_s=self.durations, timings=self.timings)
            return self._close(store)

    def _backbone(
        self,
        request: PassRequest,
        keeper: HeadKeeper,
        network: Backbone,
        plan: BackbonePlan,
        branches: list[Branch],
    ) -> Iterator[None]:
        """Heads and pass of one backbone; one whose own code fails is lost with its triples.

        Yields where other processes are at work on what is left, to be called again.
        """
        begun = time.monotonic()
        store = request.store
        found: dict[str, BranchRecord] | None = None
        while found is None:
            try:
                found = keeper.ensure(plan.name, network.to(self.device), branches, store.claim)
                record = backbone_record(network)
            except TrainedElsewhereError:
                network.cpu()
                yield
            except Exception as error:
                if not is_loss(error):
                    raise
                said = Culprit(type(network).features, error).said()
                self.lost |= {str(triple): f"its heads could not be prepared: {said}" for triple in plan.maps}
                self._to_come -= 1
                return
        record.branches = found
        record.title = BACKBONES.get(plan.name).title if plan.name in BACKBONES else plan.name
        store.add_backbone(plan.name, record)
        self.durations["heads"] = self.durations.get("heads", 0.0) + time.monotonic() - begun
        yield from self._passes(
            request, plan, lambda: run_pass(request, network.to(self.device), plan, self.timings), network.cpu
        )

    def _bare(self, request: PassRequest, plan: BackbonePlan) -> Iterator[None]:
        """The maps that no network stands behind; yields as ``_backbone``."""
        request.store.add_backbone(plan.name, bare_record(request.table))
        yield from self._passes(request, plan, lambda: run_bare_pass(request, self.device, plan, self.timings))

    def _passes(
        self,
        request: PassRequest,
        plan: BackbonePlan,
        do: Callable[[], tuple[float, dict[str, str]]],
        put_aside: Callable[[], object] = lambda: None,
    ) -> Iterator[None]:
        while True:
            seconds, lost = do()
            if seconds:
                part = f"pass {plan.name}"
                self.durations[part] = self.durations.get(part, 0.0) + seconds
            self.lost |= lost
            if not request.left[plan.name]:
                self._show(request.store, plan.name)
                return
            put_aside()
            yield

    def _show(self, store: RunStore, name: str) -> None:
        """The rows of a network that is through, while others are to come; the last one's are in the closing table."""
        self._to_come -= 1
        if self.rank or not self._to_come or store.manifest.protocol.loc_threshold == "val":
            return
        # What is wrong with the folder is said at the end, and stops no other network.
        with suppress(ResultsError):
            done = load_run(self.config.out, name)
            # Shards that processes without locks are at work on are not seen: half a table would mislead.
            if len(done.index) and len(done.index) + len(done.failures) == done.manifest.dataset.rows:
                merged = merge_runs([done])
                score_table(merged, self.known.of(merged), console, explained=False)

    def _with_kept_images(self, table: SampleTable) -> SampleTable:
        """The table, with the place where its decoded images are kept, if they are to be."""
        config, rules = self.config, self.config.protocol_object
        if not config.cache_images:
            return table
        folder, limit = cache_root() / "images", config.cache_images << 20
        return with_decoded_cache(table, folder, limit, rules.size, rules.crop_from, _print)

    def _close(self, store: RunStore) -> Done:
        """The end of this process, and the tables where it is the last one and no shard is missing."""
        config = self.config
        finished = load_run(config.out)
        if store.others_at_work or store.unfinished:
            left = store.unfinished if not store.others_at_work else {}
            return Done(finished, (config.out / "run.json",), self.lost, left, store.others_at_work)
        if not len(finished.index):
            if self.lost:
                said = "; ".join(f"{what}: {why}" for what, why in self.lost.items())
                raise NothingComputedError(f"nothing could be computed: {said}")
            if finished.problems:
                raise RunError(f"no record of {config.out} can be used: {'; '.join(finished.problems)}")
            raise RunError(f"no image of {config.dataset} {config.split} could be read; see {config.out / 'run.json'}")
        return tabled(config, finished, self.known, self.lost, self._say)

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines if self.rank == 0 else ():
            _print(line)


def _print(line: str) -> None:
    console.print(visible(line), markup=False, soft_wrap=True)


def _in_turns(work: Sequence[Iterator[None]]) -> None:
    """Work off generators: one that yields, as others are at work on what is left of it, makes way for the next."""
    waiting = list(work)
    while waiting:
        waiting = [one for one in waiting if next(one, _THROUGH) is not _THROUGH]
        if waiting:
            time.sleep(POLL_S)

"""A run from configuration to tables: plan, prepare, one pass per backbone, records, leaderboard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...baselines.contracts import BACKBONES, Backbone, Branch
from ...datasets.schema import SampleTable
from ...registry import load_plugin
from ...results.records.load import Run, load_run
from ...results.records.manifest import BranchRecord
from ...results.records.store import RunStore
from ...results.records.timings import Timings
from ...results.tables.leaderboard import write_leaderboard
from ...text import visible
from ..host.allocator import keep_freed_memory
from ..host.consoles import err as console
from ..host.device import pick_device
from ..host.errors import RunError
from ..maps.given_method import register_maps
from .again import finished_before
from .backbone_pass import PassRequest, run_bare_pass, run_pass
from .head_keeper import HeadKeeper, TrainedElsewhereError
from .networks import backbone_record, bare_record, check_labels, open_network, tell_warnings, torch_determinism
from .planning.config import RunConfig
from .planning.given import HEAD_BRANCHES, check_names, resolve_heads
from .planning.given_triples import given_triples
from .planning.plan import BackbonePlan, left_out, needs_branch, plan_backbone, plan_bare, unasked
from .planning.triples import Wanted, expand_patterns
from .run_record import run_manifest
from .scoring.clock import StageClock
from .scoring.losses import Culprit, is_loss
from .scoring.measures import choose_measures

POLL_S = 0.5
"""Seconds after which a process that has nothing else to do looks again whether others are through."""
_THROUGH = object()


@dataclass(frozen=True)
class Done:
    """A run that came to its end.

    Attributes:
        records: What the folder holds.
        paths: Files that were written: ``run.json`` and the tables.
        lost: Triple, or ``metric NAME``, that failed in this session -> why, with image and line.
        unfinished: Triple -> shards that no rank of the launch computed; there are no tables then.
        others_at_work: Other ranks go on; the last of them writes the tables.
    """

    records: Run
    paths: tuple[Path, ...]
    lost: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, list[int]] = field(default_factory=dict)
    others_at_work: bool = False


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
    device = torch.device(pick_device(config.device))
    keep_freed_memory()
    with torch_determinism():
        return _Runner(config, device).run()


class _Runner:
    """State of one run while it goes on."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.protocol = config.protocol_object
        self.rank, self.world = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1)))
        self.clock = StageClock(device)
        self.durations: dict[str, float] = {}
        self.timings = Timings()
        self.lost: dict[str, str] = {}

    def run(self) -> Done:
        started = time.monotonic()
        config = self.config
        asked = given_triples(config)
        wanted = expand_patterns(asked.patterns) if asked.patterns else []
        backbones = list(dict.fromkeys(w.triple.backbone for w in wanted))
        wanted += [Wanted(triple, explicit=True) for triple in asked.of_backbones(backbones)]
        names = list(dict.fromkeys(w.triple.backbone for w in wanted))
        check_names(config, names)
        table = config.source.open().head(config.limit)
        tell_warnings(table)
        if not len(table):
            raise RunError(f"{config.dataset} {config.split} has no images")
        given = register_maps(config.maps, table.rows["image_id"][:]) if config.maps else []
        self._say(line for folder in given for line in folder.findings())
        networks = {name: self._open(name, table, only_one=len(names) == 1) for name in names}
        plans = {name: plan_backbone(name, wanted, networks[name], self.protocol) for name in names}
        self._say(line for plan in plans.values() for line in left_out(plan))
        self._say(unasked(asked.patterns, networks.values()))
        plans = {name: plan for name, plan in plans.items() if plan.triples}
        branches = {name: self._branches(name, plans) for name in plans}
        keeper = HeadKeeper(config, table, self.device, resolve_heads(config, branches, only_one=len(names) == 1))
        for name in plans:
            check_labels(networks[name], table, name)
            keeper.take(name, networks[name], branches[name])
        bare = plan_bare(asked.bare_triples)
        measures = choose_measures(config.metrics, table)
        manifest = run_manifest(
            config,
            table,
            {**plans, **({bare.name: bare} if bare.triples else {})},
            given=given,
            device=self.device,
            measures=measures,
            head_recipe=keeper.recipe_name,
            world_size=self.world,
        )
        if self.world > 1 and finished_before(config):
            return Done(load_run(config.out), (), others_at_work=True)
        with RunStore.open(config.out, manifest, rank=self.rank, world_size=self.world, lock=config.lock) as store:
            self._say(f"{what}: its files were changed; what it made is computed anew" for what in store.recoded)
            self.durations["prepare"] = time.monotonic() - started
            request = PassRequest(config, store, table, tuple(measures), self.clock, self.rank, self.world)
            work = [
                self._backbone(request, keeper, networks.pop(name), plan, branches[name])
                for name, plan in plans.items()
            ]
            _in_turns([*work, self._bare(request, bare)] if bare.triples else work)
            self.durations["total"] = time.monotonic() - started
            store.finish(durations_s=self.durations, timings=self.timings)
            return self._close(store)

    def _open(self, name: str, table: SampleTable, *, only_one: bool) -> Backbone:
        try:
            return open_network(name, table, self.config, only_one)
        except Exception as error:
            if name not in BACKBONES or not is_loss(error):
                raise
            said = Culprit(BACKBONES.get(name).build, error).said()
            raise RunError(f"backbone {name} cannot be built: {said}") from error

    def _branches(self, name: str, plans: Mapping[str, BackbonePlan]) -> list[Branch]:
        """The branches of a network that its triples or their fidelity scores read."""
        return ["softmax", *(b for b in HEAD_BRANCHES if name in needs_branch(plans, self.protocol, b))]

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
                return
            put_aside()
            yield

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
                raise RunError(f"nothing could be computed: {said}")
            raise RunError(f"no image of {config.dataset} {config.split} could be read; see {config.out / 'run.json'}")
        # A location threshold from val needs a second run; `cambench leaderboard` joins both.
        tables = store.manifest.protocol.loc_threshold != "val"
        paths = write_leaderboard([config.out]) if tables else []
        return Done(finished, (config.out / "run.json", *paths), self.lost)

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines if self.rank == 0 else ():
            console.print(visible(line), markup=False, soft_wrap=True)


def _in_turns(work: Sequence[Iterator[None]]) -> None:
    """Work off generators: one that yields, as others are at work on what is left of it, makes way for the next."""
    waiting = list(work)
    while waiting:
        waiting = [one for one in waiting if next(one, _THROUGH) is not _THROUGH]
        if waiting:
            time.sleep(POLL_S)

"""All of a run that comes before its first image: data, networks, plans, heads that are given, the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch

from ...baselines.contracts import BACKBONES, Backbone, Branch
from ...datasets.schema import SampleTable
from ...metrics import MetricSpec
from ...results.records.manifest import RunManifest
from ..host.errors import RunError
from ..maps.given_method import register_maps
from .head_keeper import HeadKeeper
from .networks import check_labels, open_network, tell_warnings, untrained
from .own_labels import without_training
from .planning.config import RunConfig
from .planning.given import HEAD_BRANCHES, check_names, resolve_heads
from .planning.given_triples import given_triples
from .planning.own_classes import in_classes_of, protocol_of
from .planning.plan import BackbonePlan, left_out, needs_branch, plan_backbone, plan_bare, unasked
from .planning.triples import Wanted, expand_patterns
from .run_record import run_manifest
from .scoring.losses import Culprit, is_loss
from .scoring.measures import choose_measures


@dataclass(frozen=True)
class Prepared:
    """A run that may begin.

    Attributes:
        table: Samples of the split.
        networks: By name; their given heads are in place.
        plans: What each network does.
        branches: The branches that each network's triples or their fidelity scores read.
        keeper: Loads or trains them.
        bare: Maps that no network stands behind.
        measures: Further metrics.
        manifest: Of the run that is about to start.
    """

    table: SampleTable
    networks: dict[str, Backbone]
    plans: dict[str, BackbonePlan]
    branches: dict[str, list[Branch]]
    keeper: HeadKeeper
    bare: BackbonePlan
    measures: tuple[MetricSpec, ...]
    manifest: RunManifest


def prepare(config: RunConfig, device: torch.device, world: int, say: Callable[[Iterable[str]], None]) -> Prepared:
    """Open what a run of ``world`` processes needs and plan it; ``say`` is told what was left out, and why.

    Raises:
        UsageError, UnknownNameError, DatasetError, WeightsError, RunError: As ``run``.
    """
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
    given = register_maps(config.maps, table)
    say(line for folder in given for line in folder.findings())
    only_one = len(names) == 1
    networks = {name: _opened(name, table, config, only_one=only_one) for name in names}
    as_named = table
    table, networks = without_training(config, table, networks, partial(_opened, config=config, only_one=only_one))
    say(f"{table.name} {table.split}: {note}" for note in table.notes[-1:] if table is not as_named)
    say(untrained(networks))
    protocol = protocol_of(table, config.protocol_object)
    table = in_classes_of(table, networks.values())
    plans = {name: plan_backbone(name, wanted, networks[name], protocol) for name in names}
    say(line for plan in plans.values() for line in left_out(plan))
    say(unasked(asked.patterns, networks.values()))
    plans = {name: plan for name, plan in plans.items() if plan.triples}
    branches: dict[str, list[Branch]] = {
        name: ["softmax", *(b for b in HEAD_BRANCHES if name in needs_branch(plans, protocol, b))] for name in plans
    }
    keeper = HeadKeeper(config, table, device, resolve_heads(config, branches, only_one=only_one))
    for name in plans:
        check_labels(networks[name], table, name)
        keeper.take(name, networks[name], branches[name])
    for name in plans:
        keeper.check_trainable(name, networks[name], branches[name])
    bare = plan_bare(asked.bare_triples)
    measures = tuple(choose_measures(config.metrics, table))
    manifest = run_manifest(
        config,
        table,
        {**plans, **({bare.name: bare} if bare.triples else {})},
        given=given,
        device=device,
        measures=measures,
        head_recipe=keeper.recipe_name,
        world_size=world,
    )
    return Prepared(table, networks, plans, branches, keeper, bare, measures, manifest)


def _opened(name: str, table: SampleTable, config: RunConfig, *, only_one: bool) -> Backbone:
    try:
        return open_network(name, table, config, only_one)
    except Exception as error:
        if name not in BACKBONES or not is_loss(error):
            raise
        said = Culprit(BACKBONES.get(name).build, error).said()
        raise RunError(f"backbone {name} cannot be built: {said}") from error

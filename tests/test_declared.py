"""Names read from the source are those that running the code registers, with the same facts."""

import pytest

from cambench.baselines.cams import CAMS
from cambench.baselines.contracts import BACKBONES, HEADS
from cambench.bench.cli.ls import METRIC_PLACE
from cambench.bench.engine.planning.words import BACKBONE_PLACE, CAM_PLACE, HEAD_PLACE
from cambench.datasets.open import PLACE as DATASET_PLACE
from cambench.datasets.schema import DATASETS
from cambench.declared import built_in, declared
from cambench.metrics import METRICS

REGISTRIES = {
    "backbones": (BACKBONE_PLACE, BACKBONES, ("title", "source", "native_classes", "weights")),
    "cams": (CAM_PLACE, CAMS, ("title", "source", "returns")),
    "heads": (HEAD_PLACE, HEADS, ("title", "source", "branch", "clamp")),
    "data sets": (DATASET_PLACE, DATASETS, ("title", "source", "needs_root")),
    "metrics": (METRIC_PLACE, METRICS, ("title", "source", "unit", "higher_is_better")),
}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_what_the_source_declares_is_what_is_registered(kind):
    place, registry, facts = REGISTRIES[kind]
    ours = [name for name in registry if registry.origin(name).startswith("cambench.")]
    found = built_in(place)
    assert found.kind == registry.kind
    assert list(found.entries) == ours
    for name in ours:
        entry = registry.get(name)
        assert {f: getattr(found.entries[name], f) for f in facts} == {f: getattr(entry, f) for f in facts}


def test_needs_and_costs_of_methods_are_declared():
    found = built_in(CAM_PLACE)
    for name, entry in found.entries.items():
        method = CAMS.get(name)
        assert frozenset(entry.needs) == method.needs
        assert getattr(entry, "cost", "") == method.cost


def test_a_loaded_registry_answers_itself():
    _ = list(CAMS)
    assert declared(CAM_PLACE) is None

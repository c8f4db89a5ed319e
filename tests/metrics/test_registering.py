"""A metric of one's own: as a specification, as a decorator, and what is said of a wrong one."""

import doctest

import pytest
import torch

from cambench.metrics import METRICS, MetricSpec, register_metric, spec
from cambench.registry import RegistryError


@pytest.fixture(autouse=True)
def registry_as_it_was(monkeypatch):
    METRICS.names()
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    monkeypatch.setattr(METRICS, "_origin", dict(METRICS._origin))


def test_a_decorated_function_stays_itself_and_is_a_metric():
    @register_metric("my_area", title="My area", higher_is_better=False, unit="%", needs=("boxes",), expensive=True)
    def area(batch):
        """Share of bright pixels.

        More than that.
        """
        return batch

    assert area(3) == 3
    expected = MetricSpec(
        "my_area", "My area", False, "%", "Share of bright pixels.", needs=("boxes",), per_image=area, expensive=True
    )
    assert METRICS.get("my_area") == expected


def test_without_brackets_it_takes_the_name_of_the_function():
    @register_metric
    def my_mean(batch):
        return batch.maps.mean((1, 2))

    found = METRICS.get("my_mean")
    assert (found.name, found.title, found.higher_is_better, found.unit, found.source) == (
        "my_mean", "my_mean", True, "", "",
    )  # fmt: skip
    assert found.per_image is my_mean


def test_what_is_wrong_is_said():
    with pytest.raises(RegistryError, match="'tensor': @register_metric decorates a function .* not a Tensor"):
        register_metric("tensor")(torch.zeros(3))
    with pytest.raises(RegistryError, match="'pxap' .* is already registered by cambench"):
        register_metric("pxap")(lambda batch: batch.maps)
    with pytest.raises(TypeError, match="higher"):
        register_metric("typo", higher=True)(lambda batch: batch.maps)


def test_the_example_is_right():
    found = doctest.DocTestFinder().find(spec.register_metric, "register_metric", globs=vars(spec).copy())
    assert [doctest.DocTestRunner().run(one).failed for one in found] == [0]

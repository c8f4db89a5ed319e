"""Controls: deterministic, independent of batch and head, in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.heads.heads import GapLinear
from cambench.hashing import splitmix64

HEAD = GapLinear(2, 2)


def control(name: str, ids: tuple[str, ...], side: tuple[int, int] = (14, 14)) -> Tensor:
    features = torch.randn(len(ids), 2, *side)
    return CAMS.get(name).fn(Evidence(features, HEAD, torch.zeros(len(ids), dtype=torch.long), ids))


def test_splitmix64_known_answers() -> None:
    """The reference generator seeded 1234567 prints these first outputs (its state grows by the golden gamma)."""
    gamma = 0x9E3779B97F4A7C15
    states = [(1234567 + k * gamma) % 2**64 for k in range(3)]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    found = [v % 2**64 for v in splitmix64_of_increment(signed).tolist()]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def splitmix64_of_increment(states: Tensor) -> Tensor:
    # Ours multiplies by gamma (a counter-based generator); feed it the counter whose product is the state + gamma.
    gamma = 0x9E3779B97F4A7C15
    inverse = pow(gamma, -1, 2**64)
    counters = [((s % 2**64) + gamma) * inverse % 2**64 for s in states.tolist()]
    return splitmix64(torch.tensor([c - 2**64 if c >= 2**63 else c for c in counters]))


def test_random_is_independent_of_the_batch() -> None:
    together = control("random", ("a", "b", "c"))
    for i, name in enumerate("abc"):
        assert torch.equal(control("random", (name,))[0], together[i])
    assert torch.equal(control("random", ("c", "a")), together[[2, 0]])


def test_random_is_uniform() -> None:
    values = control("random", tuple(map(str, range(400)))).flatten().numpy()
    assert 0 <= values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    counts = np.histogram(values, 20, (0, 1))[0]
    chi2 = ((counts - len(values) / 20) ** 2 / (len(values) / 20)).sum()
    assert chi2 < 45, "20 bins, 19 degrees of freedom: 45 is exceeded once in a thousand"


def test_random_cells_and_images_are_uncorrelated() -> None:
    maps = control("random", tuple(map(str, range(300)))).flatten(1).numpy() - 0.5
    between_images = (maps[:-1] * maps[1:]).mean() * 12
    between_cells = (maps[:, :-1] * maps[:, 1:]).mean() * 12
    bound = 4 / math.sqrt(300 * 196)
    assert abs(between_images) < bound
    assert abs(between_cells) < bound


def test_center_is_the_gaussian() -> None:
    found = control("center", ("a", "b"), (7, 5))
    for row, column in ((0, 0), (3, 2), (6, 1)):
        y, x = (row + 0.5) / 7 - 0.5, (column + 0.5) / 5 - 0.5
        assert found[1, row, column].item() == pytest.approx(math.exp(-(x * x + y * y) / (2 * 0.25**2)), rel=1e-5)


def test_uniform_is_one() -> None:
    assert torch.equal(control("uniform", ("a",)), torch.ones(1, 14, 14))


def test_controls_are_masks_without_head() -> None:
    for name in ("random", "center", "uniform"):
        method = CAMS.get(name)
        assert (method.returns, method.headless, method.needs) == ("mask", True, frozenset())
        out = control(name, ("a", "b"))
        assert out.dtype == torch.float32
        assert 0 <= out.min() <= out.max() <= 1

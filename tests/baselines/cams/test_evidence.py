"""Evidence: gradients, seeds, re-scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.heads.heads import GapLinear

Make = Callable[..., Any]


@pytest.mark.parametrize("nonnegative", [True, False])
def test_closed_form_gradient_is_autograds(given_network: Make, nonnegative: bool) -> None:
    _, evidence = given_network("gap_linear", nonnegative)
    e = evidence["sigmoid"]
    leaf = e.features.clone().requires_grad_()
    e.head(leaf).gather(1, e.target[:, None]).sum().backward()
    torch.testing.assert_close(e.gradients, leaf.grad, rtol=1e-14, atol=0)


def test_gradient_of_an_mlp_is_the_difference_quotient(given_network: Make) -> None:
    _, evidence = given_network("mlp", True)
    e = evidence["softmax"]
    step = torch.zeros_like(e.features)
    step[:, 2, 3, 1] = 1e-6
    quotient = (e.score_features(e.features + step) - e.score_features(e.features - step)) / 2e-6
    torch.testing.assert_close(e.gradients[:, 2, 3, 1], quotient, rtol=1e-6, atol=1e-9)


def test_nothing_keeps_a_graph(given_network: Make) -> None:
    for kind in ("gap_linear", "mlp"):
        _, evidence = given_network(kind, True)
        e = evidence["softmax"]
        assert not e.gradients.requires_grad
        assert not e.logits.requires_grad
        assert torch.equal(e.logits, e.head(e.features))


def test_gradient_works_inside_no_grad(given_network: Make) -> None:
    _, evidence = given_network("mlp", True)
    with torch.no_grad():
        assert evidence["softmax"].gradients.abs().sum() > 0


def test_seeds_are_the_hash_of_the_id_alone() -> None:
    features, head = torch.zeros(3, 2, 2, 2), GapLinear(2, 2)
    seeds = Evidence(features, head, torch.zeros(3, dtype=torch.long), ("x/1.jpg", "é", "\udcff")).seeds
    assert seeds[0] == int(hashlib.sha256(b"x/1.jpg").hexdigest()[:16], 16) >> 2
    assert seeds[1] == int(hashlib.sha256("é".encode()).hexdigest()[:16], 16) >> 2
    assert len(set(seeds.tolist())) == 3


def test_rescoring_repeats_targets(given_network: Make) -> None:
    network, evidence = given_network("gap_linear", True)
    e = evidence["softmax"]
    pairs = torch.stack([e.features, 2 * e.features], 1).flatten(0, 1)
    chosen = e.score_features(pairs).view(3, 2)
    expected = e.head(pairs).view(3, 2, -1)
    assert all(torch.equal(chosen[i], expected[i, :, e.target[i]]) for i in range(3))
    with_network = Evidence(e.features, e.head, e.target, e.image_ids, None, network)
    assert torch.equal(with_network.score_images(pairs), e.score_features(pairs))
    with pytest.raises(ValueError, match="multiple of 3"):
        e.score_features(pairs[:4])
    with pytest.raises(RuntimeError, match="rescoring"):
        Evidence(e.features, e.head, e.target).score_images(pairs)


def test_class_weights_need_gap_linear(given_network: Make) -> None:
    _, evidence = given_network("mlp", True)
    with pytest.raises(TypeError, match="GAP"):
        _ = evidence["softmax"].class_weights

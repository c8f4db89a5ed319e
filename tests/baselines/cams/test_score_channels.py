"""``score_channels``: only the most active channels are scored, exactly as they would be among themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.rescoring.masking import channel_masks
from cambench.protocol import PROTOCOLS

Make = Callable[..., Any]


def limited(e: Evidence, count: int | None) -> Evidence:
    return Evidence(e.features, e.head, e.target, e.image_ids, e.images, e.backbone, score_channels=count)


@pytest.mark.parametrize("budget", [1, 2**20])
def test_scores_of_two_channels_by_loops(given_network: Make, budget: int) -> None:
    e = limited(given_network("mlp", True)[1]["softmax"], 2)
    e.chunk_bytes = budget
    score, ablation = CAMS.get("scorecam").fn(e), CAMS.get("ablationcam").fn(e)
    for i, k in enumerate(e.target.tolist()):
        active = e.features[i].mean((1, 2)).topk(2).indices.sort().values
        assert e.scored_channels[i].tolist() == active.tolist()
        masks = channel_masks(e.features[i : i + 1], (5, 4))[0]
        logits = torch.stack([e.head(e.images[i : i + 1] * masks[c])[0, k] for c in active.tolist()])
        expected = torch.zeros(6, dtype=torch.float64)
        expected[active] = logits.softmax(0)
        torch.testing.assert_close(score[i, :, 0, 0], expected)
        whole = e.head(e.features[i : i + 1])[0, k]
        expected = torch.zeros(6, dtype=torch.float64)
        for c in active.tolist():
            without = e.features[i : i + 1].clone()
            without[:, c] = 0
            expected[c] = whole - e.head(without)[0, k]
        torch.testing.assert_close(ablation[i, :, 0, 0], expected)


@pytest.mark.parametrize("method", ["scorecam", "iscam", "sscam", "ablationcam"])
def test_as_many_channels_as_there_are_change_nothing(given_network: Make, method: str) -> None:
    e = given_network("mlp", True)[1]["sigmoid"]
    whole, same = (CAMS.get(method).fn(limited(e, count)) for count in (None, 6))
    assert torch.equal(whole, same)
    # Fewer do: the approximation is one.
    assert not torch.equal(whole, CAMS.get(method).fn(limited(e, 3)))


def test_an_approximation_is_another_protocol() -> None:
    paper = PROTOCOLS.get("paper")
    assert paper.with_channels(None) is paper
    top = paper.with_channels(64)
    assert (top.name, top.score_channels) == ("paper+top64", 64)
    assert top.digest not in {paper.digest, paper.with_channels(65).digest}
    assert paper.differences(top) == {"score_channels": (None, 64)}
    # Records from before the field existed stay what they are.
    assert paper.digest == "0f1274575c93980d"

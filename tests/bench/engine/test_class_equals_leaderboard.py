"""Every score of every protocol is the same from a torchmetrics class and from the leaderboard of a real run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cambench.bench.notebook.runs import run
from cambench.metrics import (
    AverageDrop,
    AverageGain,
    GTKnownLoc,
    IncreaseInConfidence,
    MaxBoxAcc,
    MaxBoxAccV2,
    Top1Cls,
    Top1Loc,
)
from cambench.protocol import PROTOCOLS, Protocol
from cambench.results.records.load import Run
from cambench.results.scores.shown import score_run

TRIPLE = "slim_resnet/layercam/softmax"
BOX_CLASSES = {"max_box_acc": MaxBoxAcc, "max_box_acc_v2": MaxBoxAccV2, "gt_known_loc": GTKnownLoc, "top1_loc": Top1Loc}
NAMES = ("paper", "beyond-softmax-code", "wsoleval", "torchcam", "ivr", "rethinking-cam")
MORE = {
    "test-pas": PROTOCOLS.get("wsoleval").model_copy(
        update={"map_rule": PROTOCOLS.get("wsoleval").map_rule.model_copy(update={"normalisation": "pas"})}
    ),
    "test-whole": PROTOCOLS.get("paper").model_copy(
        update={"loc_reference": "percentile", "loc_percentile": 73.0, "no_contour": "whole"}
    ),
}


def boxes_of(blobs: tuple[Path, Path], crop_from: int | None) -> list[Any]:
    """Ground truth of the test split in pixels of the map or the crop, by the published truncations."""
    root, metadata = blobs
    found = []
    for line in (metadata / "test" / "localization.txt").read_text().split():
        name, *corners = line.split(",")
        width, height = Image.open(root / name).size
        pairs = [(int(c), s) for c, s in zip(corners, (width, height) * 2, strict=True)]
        if crop_from is None:
            found.append(np.array([[int(c * 224 / s) for c, s in pairs]]))
        else:
            margin = (crop_from - 224) // 2
            found.append(np.array([[min(max(int(c / s * crop_from - margin), 0), 223) for c, s in pairs]]))
    return found


def class_scores(records: Run, boxes: list[Any], protocol: Protocol, tau: float | None) -> dict[str, float]:
    column = {n: records.column(TRIPLE, n) for n in ("map", "label", "predicted", "index", "y", "o")}
    maps = torch.from_numpy(column["map"])
    labels, predicted = torch.from_numpy(column["label"]), torch.from_numpy(column["predicted"])
    scores = {}
    for name, kind in BOX_CLASSES.items():
        metric = kind(protocol, tau=tau)
        for part in torch.arange(len(maps)).split(3):
            metric.update(maps[part], [boxes[column["index"][i]] for i in part], predicted[part], labels[part])
        scores[name] = float(metric.compute())
    y, o = torch.from_numpy(column["y"]), torch.from_numpy(column["o"])
    kinds = {"average_drop": AverageDrop, "increase_in_confidence": IncreaseInConfidence}
    if protocol.fidelity_score != "logit":
        kinds["average_gain"] = AverageGain
    for name, made in kinds.items():
        fidelity = made()
        fidelity.update(y, o)
        scores[name] = float(fidelity.compute())
    top1 = Top1Cls()
    top1.update(predicted, labels)
    scores["top1_cls"] = float(top1.compute())
    return scores


def test_all_registered_protocols_are_compared() -> None:
    # A factorial registers its cells' protocols behind them.
    assert tuple(PROTOCOLS)[: len(NAMES)] == NAMES


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_class_equals_leaderboard(settings: dict[str, Any], blobs: tuple[Path, Path], name: str) -> None:
    if name in MORE and name not in PROTOCOLS:
        PROTOCOLS.add(name, MORE[name].model_copy(update={"name": name}))
    protocol = PROTOCOLS.get(name)
    boxes = boxes_of(blobs, protocol.crop_from)
    plan = {**settings, "triples": (TRIPLE,), "keep_maps": True, "protocol": name}
    first = run(**plan).run
    # Every second image gets the class that the network predicts, so that Top-1 scores are neither 0 nor 100.
    predicted, metadata = first.column(TRIPLE, "predicted"), blobs[1] / "test" / "class_labels.txt"
    lines = [line.split(",") for line in metadata.read_text().split()]
    labels = [p if i % 2 else (p + 1) % 12 for i, p in enumerate(predicted)]
    metadata.write_text("".join(f"{line[0]},{label}\n" for line, label in zip(lines, labels, strict=True)))
    records = run(**{**plan, "out": settings["out"].with_name("again")}).run
    half = len(records.index) // 2
    for policy in ("fixed", "oracle", "val"):
        chosen = protocol.model_copy(update={"loc_threshold": policy})
        whole = replace(records, manifest=records.manifest.model_copy(update={"protocol": chosen}))
        test, val = replace(whole, index=whole.index[:half]), replace(whole, index=whole.index[half:])
        tau = None
        if policy == "val":
            metric = GTKnownLoc(chosen)
            at = val.column(TRIPLE, "index")
            metric.update(torch.from_numpy(val.column(TRIPLE, "map")), [boxes[i] for i in at])
            tau = metric.best_tau()
        expected = class_scores(test, boxes, chosen, tau)
        found = score_run(test, val if policy == "val" else None).scores[TRIPLE]
        assert {n: found[n] for n in expected} == expected, policy
        assert 0 < expected["top1_cls"] < 100

"""Every column of a batch, scored on a device beside the CPU: what simulated and real accelerators are tested by."""

import copy
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import torch
from simulated_device import WAITS
from torch import nn

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.backbones.split import SplitNetwork, chain
from cambench.baselines.cams.method import CAMS
from cambench.baselines.heads.heads import GapLinear
from cambench.bench.engine.networks import same_numbers
from cambench.bench.engine.scoring.clock import StageClock
from cambench.bench.engine.scoring.measures import choose_measures
from cambench.bench.engine.scoring.onepass import OnePass
from cambench.bench.engine.scoring.pass_boxes import BoxEngine
from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.engine.scoring.scope import Scoring
from cambench.datasets.schema import Batch
from cambench.protocol import PAPER
from cambench.triple import Triple

CPU = torch.device("cpu")
SIZE = 32
EVERYTHING = SimpleNamespace(
    has_boxes=True, has_masks=True, has_evidence=True, labelled=True, class_rows=False, name="x", split="test"
)


def convolutional():
    body = chain(
        [("conv", nn.Conv2d(3, 8, 8, 8)), ("act", nn.ReLU()), ("last", nn.Conv2d(8, 6, 1)), ("out", nn.ReLU())]
    )
    net = SplitNetwork("net", body, GapLinear(6, 3), "body.out")
    net.heads["sigmoid"] = net.head().fresh()
    return net


def transformer():
    net = open_backbone("timm:test_vit", 3, pretrained=False)
    net.heads["sigmoid"] = net.head().fresh()
    return net


def batch(size):
    random = torch.Generator().manual_seed(1)

    def integers(high, *shape):
        return torch.randint(0, high, shape, dtype=torch.uint8, generator=random)

    return Batch(
        image_ids=("a", "b"), index=torch.arange(2), images=integers(256, 2, 3, size, size),
        labels=torch.tensor([0, 2]),
        gt_boxes=[np.array([[3, 4, 20, 30], [0, 0, 9, 9]]), np.array([[1, 2, 25, 28]])],
        masks=integers(2, 2, size, size), evidence=integers(2, 2, size, size), failures=(),
    )  # fmt: skip


@contextmanager
def waits_counted(device):
    """What the host waits for on the device, by operator, complete after the context."""
    found = {}
    if device.type != "cuda":
        WAITS.clear()
        yield found
        found |= WAITS
        return
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if count := sum("synchronizing CUDA operation" in str(one.message) for one in said):
        found["aten::_to_copy"] = count


def score(net, size, triples, device):
    network = copy.deepcopy(net).to(device).freeze()
    reading = Reading(network, PAPER.model_copy(update={"size": size}), channels_last=True)
    measures = tuple(choose_measures(("*",), EVERYTHING))
    boxes = BoxEngine("auto", device)
    scoring = Scoring((0.3, 0.5, 0.7), True, measures=measures, map_bytes=float("inf"), box_engine=boxes)
    engine = OnePass(reading, triples, scoring, StageClock(CPU))
    try:
        # The first batch of a run proves the box engine; the second is as all others.
        with same_numbers(device):
            engine.finish(engine.begin(batch(size)))
            boxes.since()
            with waits_counted(device) as waits:
                rows = engine.finish(engine.begin(batch(size)))
        assert not engine.lost
        # Levels of maps with too many basins are fetched, a triple's in one copy.
        return rows, waits, len(triples) if boxes.since().served["cpu"] else 0
    finally:
        engine.close()


def same(net, size, cams, device, tolerance=0.0):
    triples = [Triple("net", cam, head) for cam in cams for head in ("softmax", "sigmoid")]
    here, *_ = score(net, size, triples, CPU)
    there, waits, crowded = score(net, size, triples, device)
    assert waits.pop("aten::_to_copy", 0) <= 1 + crowded, waits
    assert not waits or cams == ["ig"]  # Captum's own
    for triple in triples:
        assert here[triple].keys() == there[triple].keys()
        for name, expected in here[triple].items():
            if tolerance and expected.dtype.kind == "f":
                np.testing.assert_allclose(there[triple][name], expected, rtol=tolerance, atol=tolerance, err_msg=name)
            elif not tolerance or not name.startswith(("hits", "pixel", "peak")):
                np.testing.assert_array_equal(there[triple][name], expected, err_msg=f"{triple} {name}")


OTHERS = (
    "rollout",
    "tscam",
    "legrad",
    "transformer_attribution",
    "vit_reciprocam",
    "layercam_fused",
    "zoomcam",
    "acolmap",
    "spgmap",
)
CONVOLUTIONAL = [c for c in CAMS if c not in OTHERS]

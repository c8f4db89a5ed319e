"""Batches for every metric class at once; a module of its own, so that spawned processes can import it."""

import numpy as np
import torch
import torch.distributed as dist
from torchmetrics import MetricCollection

from cambench.metrics import (
    AverageDrop,
    AverageGain,
    GTKnownLoc,
    IncreaseInConfidence,
    MaxBoxAcc,
    MaxBoxAccV2,
    PxAP,
    Top1Cls,
    Top1Loc,
)

COUNT, SIZE = 24, 224


def batch(seed=0, count=COUNT):
    """Everything a benchmark's metrics take, as keyword arguments."""
    random = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 100, (count, 2), generator=random)
    boxes = [np.array([[x, y, x + 90, y + 110], [5, 5, 60, 50]]) for x, y in corner.tolist()]
    y, o = torch.rand((2, count), generator=random, dtype=torch.float64)
    predicted, labels = torch.randint(0, 2, (2, count), generator=random)
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
    masks[:, 60:150, 70:160], masks[:, :20] = 1, 255
    maps = torch.rand((count, 7, 7), generator=random)
    return {"maps": maps, "gt_boxes": boxes, "predicted": predicted, "labels": labels, "masks": masks, "y": y, "o": o}


def everything(protocol="paper"):
    boxes = {c.__name__: c(protocol) for c in (MaxBoxAcc, MaxBoxAccV2, GTKnownLoc, Top1Loc)}
    scores = {c.__name__: c() for c in (AverageDrop, IncreaseInConfidence, AverageGain, Top1Cls)}
    return MetricCollection(boxes | scores | {"PxAP": PxAP(protocol)})


def cut(data, part):
    return {k: v[part] if torch.is_tensor(v) else [v[i] for i in range(COUNT)[part]] for k, v in data.items()}


def values(collection):
    return {k: float(v) for k, v in collection.compute().items()}


def work(rank, port, folder):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    collection = everything()
    collection.update(**cut(batch(), slice(0, 9) if rank == 0 else slice(9, COUNT)))
    torch.save(values(collection), f"{folder}/{rank}.pt")
    dist.destroy_process_group()

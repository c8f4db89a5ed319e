"""A tiny table of coloured squares and tiny networks, so that a training takes a fraction of a second."""

import datasets as hf
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cambench.baselines.contracts import Backbone
from cambench.baselines.heads.heads import GapLinear, MlpHead
from cambench.bench.training.recipes.recipe import BackboneRecipe, HeadRecipe
from cambench.datasets.schema import SampleTable, sample_features

SIDE, CLASSES = 16, 3
COLORS = np.array([[230, 40, 40], [40, 220, 40], [40, 40, 230]])


def png(array):
    import io

    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def make_table(count, seed=0, classes=CLASSES, broken=(), split="train"):
    """``count`` images of one coloured square on noise; label = colour; rows ``broken`` hold damaged bytes."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for i in range(count):
        label = i % classes
        image = rng.integers(0, 120, (24, 24, 3))
        y, x = rng.integers(0, 12, 2)
        image[y : y + 12, x : x + 12] = COLORS[label] + rng.integers(-30, 25, 3)
        images.append({"bytes": b"damaged" if i in broken else png(image.astype(np.uint8)), "path": None})
        labels.append(label)
    names = [f"c{i}" for i in range(classes)]
    rows = hf.Dataset.from_dict(
        {
            "image_id": [f"{split}/{i}" for i in range(count)],
            "image": images,
            "label": labels,
            "width": [24] * count,
            "height": [24] * count,
            "boxes": [[[0.0, 0.0, 5.0, 5.0]]] * count,
            "masks": [[]] * count,
            "ignore": [None] * count,
            "evidence": [None] * count,
        },
        features=sample_features(names),
    )
    return SampleTable("squares", split, rows, tuple(names), f"{seed}-{count}-{split}")


class TinyNet(Backbone):
    """One strided convolution with BatchNorm and dropout, ReLU, and a head of the given kind."""

    nonnegative, name, feature_layer = True, "tiny", "body"

    def __init__(self, kind="gap", classes=CLASSES):
        super().__init__((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.Dropout(0.2), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU()
        )
        head = GapLinear(8, classes) if kind == "gap" else MlpHead(8, classes, hidden=(8,), pool=2)
        self.heads["softmax"] = head
        self.num_classes, self.head_kind = classes, head.kind

    def features(self, images):
        return self.body(images)


@pytest.fixture
def table():
    return make_table(30)


@pytest.fixture
def tables():
    """The maker of tables: count, seed, classes, broken rows, split."""
    return make_table


@pytest.fixture
def network():
    """The maker of networks: kind of the head, classes, seed."""

    def make(kind="gap", classes=CLASSES, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return TinyNet(kind, classes)

    return make


@pytest.fixture
def head_recipe():
    return HeadRecipe(
        name="tiny",
        source="test",
        epochs=6,
        batch_size=8,
        size=SIDE,
        optimiser={"name": "adamw", "lr": 0.05, "weight_decay": 0.0},
        schedule={"kind": "cosine"},
        augment=None,
    )


@pytest.fixture
def backbone_recipe():
    return BackboneRecipe(
        name="tiny",
        source="test",
        init="random",
        epochs=4,
        batch_size=8,
        size=SIDE,
        optimiser={"name": "adamw", "lr": 0.02, "weight_decay": 0.01, "decay_vectors": False},
        schedule={"kind": "cosine", "warmup_epochs": 1},
        augment={"load_size": 20, "flip": True, "brightness": 0.1, "contrast": 0.1, "saturation": 0.1},
        small_size=12,
        small_epochs=1,
    )

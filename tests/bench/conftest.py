"""A tiny real data set on disk: blobs in JPEG files, described by WE metadata."""

import numpy as np
import pytest
from PIL import Image

COUNT, CLASSES = 10, 12


def _draw(rng, path):
    height, width = int(rng.integers(60, 120)), int(rng.integers(60, 120))
    image = rng.integers(0, 90, (height, width, 3))
    side = int(rng.integers(20, 45))
    y, x = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
    image[y : y + side, x : x + side] += rng.integers(60, 160, 3)
    Image.fromarray(image.astype(np.uint8)).save(path, quality=95)
    return width, height, (x, y, x + side, y + side)


def write_split(root, metadata, split, count, seed):
    """``count`` images of a split with their WE metadata."""
    rng = np.random.default_rng(seed)
    (root / split).mkdir(parents=True)
    (metadata / split).mkdir(parents=True)
    lines = {"image_ids": [], "class_labels": [], "image_sizes": [], "localization": []}
    for i in range(count):
        name = f"{split}/{i:03d}.jpg"
        width, height, box = _draw(rng, root / name)
        lines["image_ids"].append(name)
        lines["class_labels"].append(f"{name},{i % CLASSES}")
        lines["image_sizes"].append(f"{name},{width},{height}")
        lines["localization"].append(f"{name},{','.join(map(str, box))}")
    for file, content in lines.items():
        (metadata / split / f"{file}.txt").write_text("\n".join(content) + "\n")


@pytest.fixture
def blobs(tmp_path):
    """``(root, metadata)`` of ten test and twelve training images with one box each."""
    root, metadata = tmp_path / "images", tmp_path / "metadata"
    write_split(root, metadata, "test", COUNT, 1)
    write_split(root, metadata, "train", CLASSES, 2)
    return root, metadata


@pytest.fixture
def settings(blobs, tmp_path):
    """Fields of a small run on ``blobs``."""
    root, metadata = blobs
    return {
        "dataset": "wsol",
        "root": root,
        "options": {"metadata": str(metadata)},
        "triples": ("slim_resnet/{cam,gradcam,gradcam++,layercam,center}/softmax",),
        "out": tmp_path / "out",
        "batch_size": 4,
        "shard_size": 4,
        "workers": 1,
        "box_threads": 1,
        "device": "cpu",
    }


@pytest.fixture(autouse=True)
def head_cache(tmp_path_factory, monkeypatch):
    """A cache of trained heads of each test's own, so that no test takes what another one trained."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("cambench.bench.training.head_cache.cache_root", lambda: folder)
    return folder / "heads"


@pytest.fixture
def forwards(monkeypatch):
    """Images of every forward of a run."""
    from cambench.bench.engine.scoring.reading import Reading

    sizes = []
    whole = Reading.features

    def counted(self, images):
        sizes.append(len(images))
        return whole(self, images)

    monkeypatch.setattr(Reading, "features", counted)
    return sizes

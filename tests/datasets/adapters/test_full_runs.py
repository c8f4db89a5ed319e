"""A whole run from each adapter's replica on disk, through to the leaderboard's tables."""

from __future__ import annotations

import csv
import shutil

import pytest

from cambench.bench.notebook.runs import run

BOXES = ("top1_loc", "gt_known_loc", "max_box_acc_v2")
pytestmark = pytest.mark.usefixtures("own_cache")


def check(tmp_path, dataset, root, images, scores, **options):
    """Run two triples; the leaderboard has them, over all images, with numbers in the columns ``scores``."""
    result = run(
        dataset=dataset,
        root=root,
        options=options,
        triples=("slim_resnet/{gradcam,center}/softmax",),
        out=tmp_path / "out",
        batch_size=4,
        workers=1,
        box_threads=1,
        device="cpu",
    )
    assert len(result.run.index) == images
    assert not result.run.manifest.failures
    with (tmp_path / "out" / "tables" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["cam"] for r in rows] == ["gradcam", "center"]
    for row in rows:
        assert int(row["images"]) == images
        assert all(0 <= float(row[s]) <= 100 for s in scores)
    assert (tmp_path / "out" / "tables" / "scores.md").read_text().count("Grad-CAM") >= 1
    assert (tmp_path / "out" / "tables" / "scores.tex").stat().st_size > 0


def test_cub(cub_replica, cub_masks, tmp_path):
    check(tmp_path, "cub", cub_replica, 6, [*BOXES, "pxap"])


def test_cub_archive(cub_replica, tmp_path, pack):
    folder = tmp_path / "packed"
    folder.mkdir()
    pack(folder / "CUB_200_2011.tgz", cub_replica)
    shutil.rmtree(cub_replica)
    check(tmp_path, "cub", folder, 6, BOXES)


def test_cars(cars_replica, tmp_path):
    check(tmp_path, "stanford_cars", cars_replica, 6, BOXES)


def test_imagenet(imagenet_replica, tmp_path):
    imagenet_replica.tar()
    imagenet_replica.devkit()
    imagenet_replica.xml("bbox_val")
    imagenet_replica.train()
    check(tmp_path, "imagenet", imagenet_replica.base, 6, BOXES)


def test_imagenet_from_the_hub(imagenet_replica, hub_shards, tmp_path):
    replica = imagenet_replica
    replica.flat()
    replica.train()
    replica.solution()
    paths = [replica.base / "val" / f"{s}.JPEG" for s in replica.stems]
    hub_shards(replica.base, "validation", list(zip(paths, replica.labels, strict=True)))
    train = sorted((replica.base / "train").rglob("*.JPEG"))
    hub_shards(replica.base, "train", [(p, {"n01440764": 0, "n01443537": 1}.get(p.parent.name, 999)) for p in train])
    shutil.rmtree(replica.base / "val")
    shutil.rmtree(replica.base / "train")
    check(tmp_path, "imagenet", replica.base, 6, BOXES)


def test_openimages(openimages_replica, tmp_path):
    check(tmp_path, "openimages30k", openimages_replica, 4, ["pxap"])


def test_tiny_imagenet(tiny_replica, tmp_path):
    check(tmp_path, "tiny_imagenet", tiny_replica, 4, BOXES)


def test_wsol(wsol_replica, tmp_path):
    root, metadata = wsol_replica
    shutil.copytree(metadata / "test", metadata / "train")
    check(tmp_path, "wsol", root, 6, BOXES, metadata=str(metadata))


def test_folder(tmp_path, jpeg):
    lines = ["image,label,x0,y0,x1,y1,split"]
    for i in range(4):
        jpeg(tmp_path / "data" / f"{i}.jpg", seed=i)
        lines.append(f"{i}.jpg,{'ab'[i % 2]},2,3,20,25,{'train' if i < 2 else 'test'}")
    (tmp_path / "data" / "boxes.csv").write_text("\n".join(lines))
    check(tmp_path, "folder", tmp_path / "data", 2, BOXES, annotations="boxes.csv")

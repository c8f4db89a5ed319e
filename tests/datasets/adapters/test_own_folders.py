"""Tiny ImageNet, OpenImages-30K, and people's own folders (CSV, COCO, class folders)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.doctor.examine import doctor
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError, MissingSplitError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_tiny_imagenet(tiny_replica):
    train, val, test = (open_table("tiny_imagenet", tiny_replica.parent, s) for s in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (6, 4, 4)
    assert train.class_names == ("goldfish (n01443537)", "Egyptian cat (n02124075)")
    assert val.rows["label"] == [1, 0, 1, 0]
    assert train.rows["label"] == [0, 0, 0, 1, 1, 1]
    assert val.rows[3]["boxes"] == [[1.0, 2.0, 33.0, 50.0]]
    assert any("no labels" in n for n in test.notes)


def test_tiny_imagenet_damaged(tiny_replica):
    path = tiny_replica / "val" / "val_annotations.txt"
    path.write_text(path.read_text()[:-8])
    with pytest.raises(DatasetError, match=r"val_annotations\.txt:4"):
        open_table("tiny_imagenet", tiny_replica)
    (tiny_replica / "train" / "n02124075" / "n02124075_boxes.txt").unlink()
    with pytest.raises(DatasetError, match="1 box lists missing"):
        open_table("tiny_imagenet", tiny_replica, "train")


def write_metadata(base, split="test"):
    folder = base / "metadata" / "OpenImages" / split
    folder.mkdir(parents=True)
    images = sorted(p.relative_to(base) for p in (base / split).rglob("*.jpg"))
    (folder / "image_ids.txt").write_text("\n".join(map(str, images)))
    labels = {"01226z": 0, "0by6g": 1}
    (folder / "class_labels.txt").write_text("\n".join(f"{p},{labels[p.parent.name]}" for p in images))
    (folder / "image_sizes.txt").write_text("")
    lines = []
    for path in images:
        masks = sorted((base / path.parent).glob(f"{path.stem}_m*.png"))
        for i, mask in enumerate(masks):
            ignore = f"{path.parent}/{path.stem}_ignore.png" if i == 0 else ""
            lines.append(f"{path},{mask.relative_to(base)},{ignore}")
    (folder / "localization.txt").write_text("\n".join(lines))


def test_openimages_with_and_without_metadata_agree(openimages_replica):
    bare = open_table("openimages30k", openimages_replica.parent)
    write_metadata(openimages_replica)
    described = open_table("openimages30k", openimages_replica)
    assert (bare.num_classes, described.num_classes) == (2, 100)
    assert any("2 class folders, published are 100" in n for n in bare.notes)
    for column in ("image_id", "label", "masks", "ignore"):
        assert bare.rows[column] == described.rows[column]
    assert [len(m) for m in bare.rows["masks"]] == [2, 1, 2, 1]
    batch = next(load_batches(bare, range(4), 80, 4, 2))
    assert batch.masks is not None
    # File pixel (35, 35) of 80×60 lies in the mask and in the ignore mask: foreground wins.
    assert batch.masks[0, int(35 * 80 / 60), 35] == 1
    assert batch.masks[0, int(45 * 80 / 60), 55] == 255
    assert not open_table("openimages30k", openimages_replica, "train").has_masks


def test_openimages_stray_and_missing_masks(openimages_replica):
    folder = openimages_replica / "test" / "0by6g"
    (folder / "10ab.jpg").unlink()
    (folder / "11ab_m0by6g_1a2b3c4d.png").unlink()
    with pytest.raises(DatasetError) as error:
        open_table("openimages30k", openimages_replica)
    assert "2 masks have no image" in str(error.value)
    assert "1 images have no mask: 11ab" in str(error.value)


def test_real_openimages_masks(shared_data, tmp_path, jpeg):
    """Real masks of four images (with images drawn by us) against OpenCV."""
    import cv2

    source = shared_data / "openimages_masks" / "val"
    for mask in source.rglob("*.png"):
        target = tmp_path / "val" / mask.parent.name / mask.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(mask)
        jpeg(target.parent / f"{mask.name.partition('_')[0]}.jpg")
    table = open_table("openimages30k", tmp_path, "val")
    assert sum(len(m) for m in table.rows["masks"]) == len(list(source.rglob("*_m0*.png")))
    batch = next(load_batches(table, range(len(table)), 224, 8, 2))
    assert batch.masks is not None
    for i, row in enumerate(table.rows):

        def read(picture):
            grey = cv2.imread(picture["path"], cv2.IMREAD_GRAYSCALE).astype(np.float32)
            return cv2.resize(grey, (224, 224), interpolation=cv2.INTER_NEAREST) > 0.5

        foreground = np.any([read(m) for m in row["masks"]], axis=0)
        ignore = read(row["ignore"]) & ~foreground
        assert np.array_equal(batch.masks[i].numpy(), foreground.astype(np.uint8) + 255 * ignore.astype(np.uint8))
    assert batch.masks.unique().tolist()[:2] == [0, 1]


@pytest.fixture
def pictures(tmp_path, jpeg):
    for i in range(4):
        jpeg(tmp_path / "data" / "pics" / f"{i}.jpg", (40, 30), seed=i)
    return tmp_path / "data"


def test_csv_of_boxes(pictures):
    (pictures / "boxes.csv").write_text(
        "image,label,x0,y0,x1,y1,split\n"
        "pics/0.jpg,cat,1,2,20,25,test\npics/0.jpg,cat,5,5,30,28,test\n"
        "pics/1.jpg,dog,1.5,2,20,25,test\npics/2.jpg,ant,1,2,20,25,train\npics/3.jpg,cat,0,0,9,9,train\n"
    )
    table = open_table("folder", pictures, annotations="boxes.csv")
    assert (table.class_names, table.rows["label"]) == (("ant", "cat", "dog"), [1, 2])
    assert table.rows["boxes"] == [[[1, 2, 20, 25], [5, 5, 30, 28]], [[1.5, 2, 20, 25]]]
    assert table.rows["width"] == [40, 40]
    train = open_table("folder", pictures, "train", annotations=str(pictures / "boxes.csv"))
    assert train.rows["label"] == [0, 1]
    assert train.class_names == table.class_names
    with pytest.raises(MissingSplitError, match="no row of split val"):
        open_table("folder", pictures, "val", annotations="boxes.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,kind\npics/0.jpg,1\n", r":1: columns label are missing"),
        ("image,label,x0,y0,x1\npics/0.jpg,1,1,2,3\n", r"columns y1 are missing"),
        ("image,label,x0,y0,x1,y1\npics/0.jpg,1,1,2\n", r":2: .* has not 6 fields"),
        ("image,label,x0,y0,x1,y1\npics/0.jpg,1,1,2,x,4\n", r":2: not a number"),
        ("image,label,x0,y0,x1,y1\npics/0.jpg,1,1,2,inf,4\n", "not a number"),
        (
            "image,label,x0,y0,x1,y1\npics/0.jpg,1,1,2,3,4\npics/0.jpg,0,1,2,3,4\n",
            r"1 of 1 images have several classes: pics/0\.jpg \(0, 1\)",
        ),
        ("image,label,x0,y0,x1,y1\npics/9.jpg,1,1,2,3,4\n", "1 of 1 listed images are not on disk"),
        ("image,label,x0,y0,x1,y1\npics/0.jpg,1,,,,\n", "none of 1 images has a box or mask of its own"),
        ("image,label,split\npics/0.jpg,1,tset\n", "splits must be train, val or test; found tset"),
        ("", "found nothing"),
        ("image,label\npics/0.jpg,\n", r"b\.csv:2: 'pics/0\.jpg,' has no image or no label"),
        ("image,label\n,1\n", r"b\.csv:2: ',1' has no image or no label"),
        ('image,label\npics/0.jpg,"1\npics/1.jpg,1\n', r"b\.csv:2: not CSV \(unexpected end of data\)"),
        ("image,label\npics/0.jpg," + "1" * 200_000, r"b\.csv:2: not CSV \(field larger than field limit"),
        ("image,label,label\npics/0.jpg,1,2\n", "a column occurs twice"),
        ("image,label,width,height\npics/0.jpg,1,-5,7\n", r":2: not a number, or a negative size"),
    ],
)
def test_damaged_csv(pictures, text, message):
    (pictures / "b.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_table("folder", pictures, annotations="b.csv")


def test_a_box_that_is_listed_twice_is_told(pictures):
    (pictures / "b.csv").write_text("image,label,x0,y0,x1,y1\n" + "pics/0.jpg,1,1,2,3,4\n" * 2)
    table = open_table("folder", pictures, annotations="b.csv")
    assert table.rows["boxes"][0] == [[1.0, 2.0, 3.0, 4.0]] * 2
    assert table.warnings == ("1 boxes are listed twice (kept as published): pics/0.jpg [1.0, 2.0, 3.0, 4.0]",)


def test_empty_classes_and_broken_links_are_told(tmp_path, jpeg):
    root = tmp_path / "own"
    jpeg(root / "a" / "x.png")
    (root / "b").mkdir()
    (root / "c").symlink_to("c")
    warnings = open_table("folder", root).warnings
    assert [w.removeprefix(f"{root}: ") for w in warnings] == [
        *("1 symbolic links lead nowhere, or to themselves: c", "1 classes have no image here: b")
    ]


def test_class_folders(tmp_path, jpeg):
    for split in ("train", "test"):
        for name in ("b", "a"):
            jpeg(tmp_path / split / name / "x.png")
    table = open_table("folder", tmp_path)
    assert (table.rows["image_id"], table.rows["label"]) == (["a/x.png", "b/x.png"], [0, 1])
    with pytest.raises(MissingSplitError, match="has no val/ folder"):
        open_table("folder", tmp_path, "val")
    flat = open_table("folder", tmp_path / "test" / "a")
    assert (flat.rows["image_id"][:], flat.rows["label"][:]) == (["x.png"], [-1])
    assert not flat.labelled
    assert any("pictures without labels: the class drawn is the network's prediction" in w for w in flat.warnings)
    with pytest.raises(DatasetError, match="has no class folders; pass annotations=FILE"):
        open_table("folder", tmp_path / "test" / "a", labels="names")


def test_classes_of_an_imagenet_network(tmp_path, jpeg):
    for name in ("n02123045", "gold_fish", "n02124075_Egyptian", "tusker", "389"):
        jpeg(tmp_path / "own" / name / "x.jpg")
    said = " ".join(open_table("folder", tmp_path / "own", labels="network").notes)
    assert "1 of 5 labels are no class of ImageNet: 'gold_fish' (did you mean 'gold" in said
    (tmp_path / "own" / "gold_fish").rename(tmp_path / "own" / "goldfish")
    table = open_table("folder", tmp_path / "own", labels="network")
    found = dict(zip(table.rows["image_id"], table.rows["label"], strict=True))
    assert table.num_classes == 1000
    assert found == {
        **{"n02123045/x.jpg": 281, "goldfish/x.jpg": 1, "n02124075_Egyptian/x.jpg": 285},
        **{"tusker/x.jpg": 101, "389/x.jpg": 389},
    }
    (tmp_path / "own" / "b.csv").write_text("image,label\ngoldfish/x.jpg,Goldfish\n")
    assert open_table("folder", tmp_path / "own", annotations="b.csv", labels="network").rows["label"][:] == [1]


def coco_file(pictures, **changes):
    data = {
        "images": [{"id": i, "file_name": f"pics/{i}.jpg", "width": 40, "height": 30} for i in range(3)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 7, "bbox": [1, 2, 10, 20], "area": 200, "iscrowd": 0},
            {"id": 2, "image_id": 0, "category_id": 7, "bbox": [5, 5, 3, 3], "area": 9, "iscrowd": 0},
            {"id": 3, "image_id": 1, "category_id": 3, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0},
            {"id": 4, "image_id": 2, "category_id": 3, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0},
        ],
        **changes,
    }
    (pictures / "coco.json").write_text(json.dumps(data))
    return data


def test_coco(pictures):
    data = coco_file(pictures)
    table = open_table("folder", pictures, annotations="coco.json")
    assert (table.class_names, table.rows["label"]) == (("dog", "cat"), [1, 0, 0])
    assert table.rows[0]["boxes"] == [[1, 2, 11, 22], [5, 5, 8, 8]]
    other = {"id": 9, "image_id": 2, "category_id": 7, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0}
    coco_file(pictures, annotations=[*data["annotations"], other])
    with pytest.raises(DatasetError, match=r"1 of 3 images have several classes: pics/2\.jpg"):
        open_table("folder", pictures, annotations="coco.json")
    largest = open_table("folder", pictures, annotations="coco.json", label="largest")
    assert largest.rows["label"] == [1, 0, 1]
    assert largest.rows[2]["boxes"] == [[0, 0, 20, 20]]


def test_coco_damaged(pictures):
    (pictures / "coco.json").write_text('{"images": [')
    with pytest.raises(DatasetError, match="not COCO JSON"):
        open_table("folder", pictures, annotations="coco.json")
    data = coco_file(pictures)
    coco_file(pictures, annotations=data["annotations"][:3])
    table = open_table("folder", pictures, annotations="coco.json")
    assert table.rows["image_id"] == ["pics/0.jpg", "pics/1.jpg"]
    assert any("1 of 3 images have no box or mask and are left out: pics/2.jpg" in w for w in table.warnings)


def test_file_names_that_are_not_utf8(tmp_path):
    folder = tmp_path / "data" / "ant"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "good.png")
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (folder / name).hardlink_to(folder / "good.png")
    with pytest.raises(DatasetError, match="1 file names are not UTF-8"):
        open_table("folder", tmp_path / "data")
    folder.rename(tmp_path / "data" / name)
    with pytest.raises(DatasetError, match="1 class names are not UTF-8"):
        open_table("folder", tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / name)
    with pytest.raises(DatasetError, match="is not UTF-8; rename the folder"):
        open_table("folder", tmp_path / name)


def test_a_label_that_would_mean_millions_of_classes_is_refused(tmp_path, jpeg, wsol_replica):
    """Names are made for every class below the largest label: an id in its place would take minutes and gigabytes."""
    jpeg(tmp_path / "own" / "a.jpg")
    (tmp_path / "own" / "b.csv").write_text("image,label,x0,y0,x1,y1\na.jpg,99999999,1,2,20,20\n")
    with pytest.raises(DatasetError, match=r"b\.csv: the largest label, 99,999,999, means 100,000,000 classes"):
        open_table("folder", tmp_path / "own", annotations="b.csv")
    root, metadata = wsol_replica
    with pytest.raises(DatasetError, match="means 900,000,000 classes"):
        open_table("wsol", root, metadata=metadata, num_classes=900_000_000)
    labels = metadata / "test" / "class_labels.txt"
    labels.write_text(labels.read_text().replace(",1", ",99999999"))
    with pytest.raises(DatasetError, match=r"class_labels\.txt: the largest label, 99,999,999, means"):
        open_table("wsol", root, metadata=metadata)


PUBLISHED = {
    "cub": ("cub_replica", ("", "images")),
    "stanford_cars": ("cars_replica", ("", "cars_train")),
    "tiny_imagenet": ("tiny_replica", ("", "train", "val")),
    "openimages30k": ("openimages_replica", ("", "test", "val")),
    "imagenet": ("imagenet_replica", ("", "train")),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_data_set_read_as_a_folder_names_its_adapter(name, request):
    fixture, children = PUBLISHED[name]
    base = request.getfixturevalue(fixture)
    if name == "imagenet":
        base.train()
        base = base.base
    for child in children:
        told = [str(f) for split in doctor("folder", base / child).splits for f in split.findings]
        assert any(f"take {name} with --root {base}, which knows labels" in line for line in told), (child, told)


def test_peoples_own_folders_are_no_published_data_set(tmp_path, jpeg, cars_replica):
    """Also beside one, and with names that are close."""
    for root, names in (
        (tmp_path / "digits", ("train/0", "train/01", "test/0", "test/01")),
        (cars_replica.parent / "cars", ("cars", "devkit", "n1", "images", "001.mine")),
        (cars_replica / "mine", ("a", "b")),
    ):
        for i, name in enumerate(names):
            jpeg(root / name / f"{i}.jpg", seed=i)
        report = doctor("folder", root)
        assert report.ok
        assert not [f for split in report.splits for f in split.findings if f.level != "note"]


def test_annotations_here_and_in_the_root_are_not_guessed(pictures, tmp_path, monkeypatch):
    """The file of the folder where the user happened to be was taken."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (pictures / "b.csv").write_text("image,label\npics/0.jpg,cat\n")
    assert open_table("folder", pictures, annotations="b.csv").class_names == ("cat",)
    (here / "b.csv").write_text("image,label\npics/0.jpg,dog\n")
    with pytest.raises(DatasetError, match=r"b\.csv: it is there twice, as .*here/b\.csv and .*data/b\.csv"):
        open_table("folder", pictures, annotations="b.csv")
    monkeypatch.chdir(pictures)
    assert open_table("folder", pictures, annotations="b.csv").class_names == ("cat",)
    assert open_table("folder", pictures, annotations=str(here / "b.csv")).class_names == ("dog",)

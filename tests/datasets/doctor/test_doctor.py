"""The doctor's report: counts, findings, decoding, next steps."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest

from cambench.datasets.doctor.examine import doctor
from cambench.datasets.schema import DATASETS, DatasetError, register_dataset
from cambench.registry import UnknownNameError

pytestmark = pytest.mark.usefixtures("own_cache")


def text(split) -> str:
    return "\n".join(map(str, split.findings))


def test_healthy_replica(imagenet_replica):
    imagenet_replica.by_class()
    imagenet_replica.xml("bbox_val")
    imagenet_replica.train()
    report = doctor("imagenet", imagenet_replica.base, deep=True)
    assert report.ok
    train, val, test = report.splits
    assert (train.rows, val.rows, test.rows) == (15, 3, 6)
    assert (test.expected, train.expected) == (50_000, 1_281_167)
    assert (test.boxes, test.boxes_per_image, test.several_boxes) == (7, (1, 7 / 6, 2), 1)
    assert (test.num_classes, test.classes_present) == (1000, 3)
    assert test.variant == "wnid folders, XML boxes"
    assert test.modes == {"RGB": 6}
    assert "a subset: 6 of 50,000 validation images; absent: ILSVRC2012_val_00000007, " in text(test)
    assert any("29b22e2961454d5413ddabcf34fc5622" in s for s in report.next_steps)


def test_deep_names_damaged_and_non_rgb_files(cub_replica):
    images = cub_replica / "images"
    first, second = (cub_replica / "images.txt").read_text().split()[1:4:2]
    whole = (images / first).read_bytes()
    (images / first).write_bytes(whole[: len(whole) // 2])
    (images / second).write_bytes(b"")
    seen: dict[str, int] = {}

    @contextmanager
    def track(title, total):
        def advance(count):
            seen[title] = seen.get(title, 0) + count

        yield advance

    report = doctor("cub", cub_replica, deep=True, track=track)
    train, _, test = report.splits
    assert not report.ok
    assert [f.image_id for f in test.unreadable] == [first]
    assert "truncated" in test.unreadable[0].reason.lower()
    assert [f.image_id for f in train.unreadable] == [second]
    assert "1 image files are empty" in text(train)
    assert train.modes == {"L": 2, "RGB": 3}
    assert test.modes == {"CMYK": 3, "RGB": 2}
    assert seen["decode cub test"] == 6
    assert doctor("cub", cub_replica, splits=("test",)).ok


def test_missing_files_are_all_reported_and_the_rest_is_described(cars_replica):
    shutil.rmtree(cars_replica / "cars_test")
    (cars_replica / "cars_train" / "00002.jpg").unlink()
    report = doctor("stanford_cars", cars_replica)
    train, val, test = report.splits
    assert not report.ok
    assert train.rows == 5
    assert "1 of 6 listed images are not on disk: 00002.jpg" in text(train)
    assert "1 of 5 boxes reach outside" in text(train) or "1 of 6 boxes reach outside" in text(train)
    assert (test.rows, len(test.problems)) == (0, 1)
    assert val.rows or val.problems
    assert any("cars_test.tgz" in s for s in report.next_steps)


def test_ids_and_files_in_two_splits(cars_replica, tmp_path, jpeg):
    _, _, test = doctor("stanford_cars", cars_replica).splits
    assert "6 image ids name different files in train and test" in text(test)
    for i in range(2):
        jpeg(tmp_path / "own" / f"{i}.jpg")
    rows = ["0.jpg,a,1,1,9,9,train", "1.jpg,a,1,1,9,9,train", "1.jpg,a,1,1,9,9,test"]
    (tmp_path / "own" / "b.csv").write_text("\n".join(["image,label,x0,y0,x1,y1,split", *rows]))
    _, _, test = doctor("folder", tmp_path / "own", annotations="b.csv").splits
    assert "1 images are both in train and test" in text(test)


def test_several_problems_at_once(cub_replica):
    path = cub_replica / "bounding_boxes.txt"
    path.write_text("101 1 2\n" + "\n".join(path.read_text().splitlines()[2:]) + "\n")
    (cub_replica / "images" / (cub_replica / "images.txt").read_text().split()[5]).unlink()
    report = doctor("cub", cub_replica, splits=("test",))
    assert len(report.splits[0].problems) == 3
    assert report.splits[0].rows == 0


def test_a_split_that_is_not_there_is_no_problem(wsol_replica):
    root, metadata = wsol_replica
    report = doctor("wsol", root, metadata=metadata)
    assert report.ok
    assert [s.rows for s in report.splits] == [0, 0, 6]
    assert [f.level for f in report.splits[0].findings] == ["note"]


def steps(report) -> list[str]:
    return [s.partition(",")[0].partition(":")[0] for s in report.next_steps]


def test_next_steps_are_for_what_is_missing_only(imagenet_replica, cub_replica, cub_masks, cars_replica):
    imagenet_replica.flat("ILSVRC/Data/CLS-LOC/val")
    imagenet_replica.solution()
    report = doctor("imagenet", imagenet_replica.base)
    assert steps(report) == ["ILSVRC2012_img_val.tar", "ILSVRC2012_img_train.tar", "or"]
    assert "ILSVRC/Data/CLS-LOC/val is there; complete it if needed" in report.next_steps[0]
    assert report.next_steps[-1].startswith(f"or: cambench download imagenet --root {imagenet_replica.base} --all (")

    assert steps(doctor("cub", cub_replica)) == ["CUB_200_2011.tgz", "or"]
    shutil.rmtree(cub_masks)
    report = doctor("cub", cub_replica)
    assert steps(report) == ["CUB_200_2011.tgz", "segmentations.tgz", "or"]
    assert report.next_steps[-1] == f"or: cambench download cub --root {cub_replica} --all"
    assert steps(doctor("stanford_cars", cars_replica)) == [
        *("cars_train.tgz", "cars_test.tgz", "car_devkit.tgz", "cars_test_annos_withlabels.mat")
    ]


def test_steps_name_the_folder_where_the_root_is_an_archive(cub_replica, tmp_path, pack):
    (tmp_path / "above" / "packed").mkdir(parents=True)
    archive = pack(tmp_path / "above" / "packed" / "CUB_200_2011.tgz", cub_replica)
    first, *_, last = doctor("cub", archive).next_steps
    assert f"({archive} is there; complete it if needed)" in first
    assert last == f"or: cambench download cub --root {archive.parent} --all"
    report = doctor("cub", tmp_path / "above", splits=("test",))
    assert f"is above the data set; pass --root {archive.parent}" in text(report.splits[0])


def test_many_bad_lines_make_a_short_report(cub_replica):
    path = cub_replica / "bounding_boxes.txt"
    path.write_text(path.read_text().replace(" ", ";"))
    report = doctor("cub", cub_replica, splits=("test",))
    lines = [f.where for f in report.splits[0].problems]
    assert lines[:5] == [f"{path}:{i}" for i in range(1, 6)]
    assert "7 more lines like these, the last is line 12" in text(report.splits[0])
    assert len(lines) == 7


def test_wrong_use(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'cub'"):
        doctor("cubs", tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        doctor("cub", tmp_path / "nowhere")
    report = doctor("cub", tmp_path)
    assert not report.ok
    assert any(
        "CUB_200_2011.tgz, 1,150,585,339 bytes, md5 97eceeb196236b17998738112f37df78" in s for s in report.next_steps
    )


def test_every_builtin_says_where_it_comes_from():
    for name in DATASETS:
        spec = DATASETS.get(name)
        assert spec.title
        assert spec.source
        assert spec.metrics
    assert DATASETS.get("cub").counts == {"train": 5994, "test": 5794}
    assert register_dataset(DATASETS.get("cub")).name == "cub"


def test_real_cars_devkit(shared_data):
    report = doctor("stanford_cars", shared_data / "stanford_cars", deep=True, splits=("train",))
    (train,) = report.splits
    assert (train.rows, train.num_classes) == (50, 196)
    assert "8,094 of 8,144" in text(train)
    assert not train.unreadable

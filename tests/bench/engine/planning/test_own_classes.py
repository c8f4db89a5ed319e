"""People's own pictures under networks that have classes of their own: with labels by name, and without any."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cambench
from cambench.baselines.contracts import BACKBONES
from cambench.bench.engine.again import source_asked
from cambench.bench.host.errors import RunError, UsageError
from cambench.results.report import write_report

COLOURS = {"sky": (0, 0, 255), "leaf": (0, 255, 0), "rose": (255, 0, 0)}


class Colours(nn.Module):
    """The logit of a class is the mean of its colour: rose, leaf, sky."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 32, 32, bias=False)
        self.stem.weight.data = torch.eye(3)[:, :, None, None].expand(3, 3, 32, 32) / 1024
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 3, bias=False)
        self.fc.weight.data = 4 * torch.eye(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.stem(x).relu()).flatten(1))


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """Photos of three colours in a folder a class, one of them in the wrong folder, and a network that knows them."""
    names = ["rose", "leaf", "sky"]
    cambench.wrap(name="colours", model=Colours(), layer="stem", class_names=names, mean=(0,) * 3, std=(1,) * 3)
    for name, colour in COLOURS.items():
        for k in range(2):
            pixels = np.full((40, 50, 3), colour, np.uint8)
            pixels[:, 20 * k : 20 * k + 20] //= 3
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{k}.PNG")
    (tmp_path / "photos" / "rose" / "1.PNG").rename(tmp_path / "photos" / "leaf" / "9.PNG")
    yield {
        **{"dataset": "folder", "root": tmp_path / "photos", "out": tmp_path / "run", "device": "cpu"},
        **{"triples": ("colours/{gradcam,layercam}/softmax",), "workers": 1, "batch_size": 4},
    }
    BACKBONES._entries.pop("colours"), BACKBONES._origin.pop("colours")


def test_labels_are_the_networks_classes_by_name(own: Any) -> None:
    found = cambench.run(**own, options={"labels": "network"}).run
    assert found.column(found.triples[0], "label").tolist() == [1, 1, 1, 0, 2, 2], "rose, leaf, sky, not by rank"
    assert found.column(found.triples[0], "predicted").tolist() == [1, 1, 0, 0, 2, 2]
    assert found.manifest.dataset.class_names == ["rose", "leaf", "sky"]
    assert found.manifest.dataset.title == "photos: your own images"
    assert "83.33" in (own["out"] / "tables" / "leaderboard.md").read_text()
    (own["root"] / "sky").rename(own["root"] / "cloud")
    said = r"3 of 3 labels are no class of ImageNet.*the network's own classes lack 'cloud'; it has rose, leaf, sky"
    with pytest.raises(RunError, match=said):
        cambench.run(**own | {"out": own["out"] / "b"}, options={"labels": "network"})


@pytest.mark.parametrize("labels", [None, "network", "none"])
def test_photos_without_labels_have_maps_and_fidelity(own: Any, labels: str | None) -> None:
    root = own["root"] / "sky"
    options = {} if labels is None else {"labels": labels}
    result = cambench.run(**own | {"root": root}, options=options)
    found = result.run
    assert found.column(found.triples[0], "target").tolist() == [2, 2], "what is predicted"
    assert found.manifest.dataset.class_names == ["rose", "leaf", "sky"]
    text = (own["out"] / "tables" / "leaderboard.md").read_text()
    assert "Avg Drop" in text
    assert "Top-1" not in text
    assert " Loc" not in text
    said = "classification (the images have no labels; the predicted class is drawn); localisation (the images have no"
    assert f"Not available: {said} boxes and no masks)" in text
    assert "correct" not in found.records(found.triples[0])
    with pytest.raises(UsageError, match="protocol wsoleval draws the map of each picture's label, and these pictures"):
        cambench.run(**own | {"root": root, "protocol": "wsoleval", "out": own["out"] / "b"}, options=options)
    with pytest.raises(UsageError, match="metric top5_cls needs labels, which folder test lacks"):
        cambench.run(**own | {"root": root, "metrics": ("top5_cls",), "out": own["out"] / "b"}, options=options)


def test_boxes_count_where_labels_are_not_read(own: Any) -> None:
    lines = ["image,label,x0,y0,x1,y1", *(f"{n}/0.PNG,thing {n},20,0,50,40" for n in COLOURS)]
    (own["root"] / "boxes.csv").write_text("\n".join(lines))
    options = {"annotations": "boxes.csv", "labels": "none"}
    found = cambench.run(**own, options=options).run
    assert found.column(found.triples[0], "label").tolist() == [-1] * 3
    text = (own["out"] / "tables" / "leaderboard.md").read_text()
    assert "GT-known Loc" in text
    assert "Top-1" not in text
    page = write_report(own["out"], own["out"] / "report.html")
    assert "no label" in page.read_text()


def test_an_image_of_several_classes_has_a_row_and_a_map_for_each(own: Any) -> None:
    """Left half red, right half blue, read as 3.5 of 7 columns each: the maximum of a class lies in its own half."""
    pixels = np.zeros((40, 50, 3), np.uint8)
    pixels[:, :25, 0], pixels[:, 25:, 2] = 255, 200
    root = own["root"] / "both"
    root.mkdir()
    for name in ("a", "b"):
        Image.fromarray(pixels).save(root / f"{name}.png")
    halves = {"rose": "0,0,25,40", "sky": "25,0,50,40"}
    lines = ["image,label,x0,y0,x1,y1", *(f"a.png,{name},{box}" for name, box in halves.items())]
    lines += [f"b.png,rose,{halves['sky']}", f"b.png,sky,{halves['rose']}"]
    (root / "boxes.csv").write_text("\n".join(lines))
    options = {"annotations": "boxes.csv", "labels": "network", "classes": "rows"}
    fields = own | {"root": root, "triples": ("colours/gradcam/softmax",), "metrics": ("pointing_game",)}
    found = cambench.run(**fields, options=options).run
    [triple] = found.triples
    assert found.column(triple, "image_id").tolist() == ["a.png#rose", "a.png#sky", "b.png#rose", "b.png#sky"]
    assert found.column(triple, "label").tolist() == found.column(triple, "target").tolist() == [0, 2, 0, 2]
    assert found.column(triple, "predicted").tolist() == [0] * 4
    assert found.column(triple, "extra:pointing_game").tolist() == [1, 1, 0, 0], "the boxes of b.png are swapped"
    assert found.manifest.protocol.name == "paper+label"
    text = (own["out"] / "tables" / "leaderboard.md").read_text()
    assert "Top-1" not in text
    assert "Not available: classification (a row is an image and one of its classes, whose map is drawn" in text
    assert "GT-known Loc" in text


def test_photos_that_nothing_can_be_trained_on_are_read_in_the_networks_classes(own: Any, capfd: Any) -> None:
    """Without ``labels=`` and without a train split: names of the network's classes are these, others are not read."""
    shutil.rmtree(own["root"] / "sky")
    found = cambench.run(**own).run
    assert found.column(found.triples[0], "label").tolist() == [1, 1, 1, 0], "rose, leaf, sky"
    assert found.manifest.dataset.class_names == ["rose", "leaf", "sky"]
    said = "no train split to train a head of these 2 classes on ('leaf', 'rose'): they are read as the network's own"
    assert said in capfd.readouterr().err
    assert said in " ".join(found.manifest.dataset.notes)
    assert source_asked(found.manifest).options == {"labels": "network"}
    (own["root"] / "leaf").rename(own["root"] / "my garden")
    found = cambench.run(**own | {"out": own["out"] / "b"}).run
    assert found.column(found.triples[0], "label").tolist() == [-1] * 4
    assert "('my garden', 'rose'), and the network has other classes: labels are not read" in capfd.readouterr().err
    assert source_asked(found.manifest).options == {"labels": "none"}
    again = cambench.run(**own | {"out": own["out"] / "b"}).run
    assert again.manifest.started == found.manifest.started, "nothing is done twice"


def test_photos_are_trained_on_where_there_is_a_train_split(own: Any) -> None:
    shutil.rmtree(own["root"] / "sky")
    for name in ("leaf", "rose"):
        for split in ("train", "test"):
            shutil.copytree(own["root"] / name, own["root"] / split / name)
        shutil.rmtree(own["root"] / name)
    found = cambench.run(**own).run
    assert found.manifest.dataset.class_names == ["leaf", "rose"]
    assert found.manifest.backbones["colours"].branches["softmax"].provenance == "trained in this run"


@pytest.mark.parametrize("labels", [None, "network", "none"])
def test_a_random_network_is_read_as_it_is_and_said_to_be_random(own: Any, capfd: Any, labels: str | None) -> None:
    options = {} if labels is None else {"labels": labels}
    fields = own | {"root": own["root"] / "sky", "triples": ("timm:test_resnet/gradcam/softmax",), "pretrained": False}
    found = cambench.run(**fields, options=options).run
    assert found.manifest.dataset.num_classes == 1000
    assert capfd.readouterr().err.count("timm:test_resnet: random weights, as --no-pretrained asks") == 1

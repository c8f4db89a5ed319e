"""What synthbirds shows: species that differ only in their parts, varied birds, nothing told by place or background."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cambench.datasets.adapters.synthbirds.draw import Painter, draw_pose
from cambench.datasets.adapters.synthbirds.pen import Shape, rasterise
from cambench.datasets.adapters.synthbirds.render import BirdPicture, draw, stream
from cambench.datasets.adapters.synthbirds.species import FAMILIES, SPECIES, evidence_parts, relatives

COUNT = 240


@pytest.fixture(scope="module")
def birds() -> list[BirdPicture]:
    return [draw(0, "test", i, 96) for i in range(COUNT)]


def test_four_families_of_three() -> None:
    assert Counter(s.family.name for s in SPECIES) == {f.name: 3 for f in FAMILIES}
    assert len(FAMILIES) == 4
    assert len({s.name for s in SPECIES}) == 12


def test_each_species_has_one_to_three_parts_that_no_relative_shares() -> None:
    expected = {
        "red-capped finch": {"cap"},
        "bar-winged finch": {"wing_bars"},
        "black-masked finch": {"face"},
        "plumed jay": {"crest"},
        "orange-bellied jay": {"belly"},
        "collared jay": {"collar"},
        "sickle-billed warbler": {"beak"},
        "fork-tailed warbler": {"tail"},
        "spectacled warbler": {"eye_ring", "wing_bars"},
        "gold-billed toucanet": {"beak"},
        "scarlet-billed toucanet": {"beak", "throat"},
        "casqued toucanet": {"beak", "casque"},
    }
    assert {s.name: set(evidence_parts(s)) for s in SPECIES} == expected


@pytest.mark.parametrize("flying", [False, True])
@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_relatives_in_the_same_pose_differ_only_in_the_telling_parts(species, flying) -> None:
    pose = replace(draw_pose(stream(0, "train", 5)), flying=flying)
    ours, parts = Painter(species, pose).paint(), evidence_parts(species)
    for other in relatives(species):
        theirs, differing = Painter(other, pose).paint(), parts | evidence_parts(other)
        # A part that one relative has in a state of its own is in the default state, or absent, in the others.
        common = [[s for s in shapes if s.part not in differing] for shapes in (ours, theirs)]
        assert len(common[0]) == len(common[1])
        for a, b in zip(*common, strict=True):
            assert (a.color, a.part) == (b.color, b.part)
            np.testing.assert_array_equal(a.points, b.points)
        assert len(ours) != len(common[0])


def test_coverage_is_anti_aliased_and_evidence_is_what_stays_visible() -> None:
    square = np.array([(2.0, 2.0), (8.0, 2.0), (8.0, 8.0), (2.0, 8.0)])
    shapes = [Shape(square, (200, 0, 0), "cap"), Shape(square + np.array((3, 0)), (0, 200, 0), None)]
    color, cover, marked = rasterise(shapes, (16, 12), frozenset({"cap"}))
    assert color.shape == (12, 16, 3)
    assert cover[4, 3] == cover[4, 9] == marked[4, 3] == 1
    assert marked[4, 6] == 0
    assert tuple(color[4, 6]) == (0, 200, 0)
    assert cover[4, 13] == 0
    assert rasterise([Shape(square + 0.5, (9, 9, 9))], (16, 12), frozenset())[1][5, 2] == pytest.approx(0.5, abs=0.26)


def test_labels_are_balanced_in_every_prefix(birds: list[BirdPicture]) -> None:
    assert Counter(b.label for b in birds[:24]) == dict.fromkeys(range(12), 2)


def test_the_box_is_tight_and_the_evidence_is_on_the_bird(birds: list[BirdPicture]) -> None:
    for bird in birds:
        ys, xs = np.nonzero(bird.mask)
        assert bird.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert bird.evidence.any()
        assert not (bird.evidence & ~bird.mask).any()
        assert bird.evidence.sum() < 0.6 * bird.mask.sum()


def test_scale_covers_its_range_and_favours_birds_that_can_be_told(birds: list[BirdPicture]) -> None:
    sides = np.array([max(b.box[2] - b.box[0], b.box[3] - b.box[1]) / 96 for b in birds])
    assert sides.min() > 0.13
    assert sides.max() < 0.82
    assert sides.min() < 0.32
    assert sides.max() > 0.74
    assert 0.45 < np.median(sides) < 0.65


def test_birds_face_both_ways() -> None:
    # The gold-billed toucanet's evidence is its beak, which is on the side it faces.
    facing = []
    for i in range(60):
        bird = draw(0, "val", i * 12 + 9, 64)
        beak = np.nonzero(bird.evidence)[1].mean()
        facing.append(beak > (bird.box[0] + bird.box[2]) / 2)
    assert 15 < sum(facing) < 45


def _iou_with(birds: list[BirdPicture], box: tuple[float, float, float, float]) -> np.ndarray:
    b = np.array([bird.box for bird in birds])
    wide = np.clip(np.minimum(b[:, 2], box[2]) - np.maximum(b[:, 0], box[0]), 0, None)
    tall = np.clip(np.minimum(b[:, 3], box[3]) - np.maximum(b[:, 1], box[1]), 0, None)
    area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) + (box[2] - box[0]) * (box[3] - box[1])
    return wide * tall / (area - wide * tall)


def test_neither_the_whole_image_nor_any_centred_box_finds_the_bird(birds: list[BirdPicture]) -> None:
    assert (_iou_with(birds, (0, 0, 96, 96)) >= 0.5).mean() < 0.05
    best = max(
        (_iou_with(birds, (48 - w / 2, 48 - h / 2, 48 + w / 2, 48 + h / 2)) >= 0.5).mean()
        for w in range(8, 97, 4)
        for h in range(8, 97, 4)
    )
    assert best < 0.38


def _histogram(bird: BirdPicture) -> np.ndarray:
    """Colours of the background, 4 levels a channel."""
    levels = bird.image[~bird.mask] // 64
    return np.bincount(levels @ np.array([16, 4, 1], dtype=np.uint8), minlength=64) / len(levels)


def test_the_background_does_not_tell_the_label(birds: list[BirdPicture]) -> None:
    train = [draw(0, "train", i, 96) for i in range(COUNT)]
    model = LogisticRegression(C=100, max_iter=1000)
    model.fit(np.stack([_histogram(b) for b in train]) * 10, [b.label for b in train])
    accuracy = model.score(np.stack([_histogram(b) for b in birds]) * 10, [b.label for b in birds])
    # Chance is 1/12; four standard errors of 240 guesses above it.
    assert accuracy < 1 / 12 + 4 * np.sqrt(1 / 12 * 11 / 12 / COUNT)


def test_pictures_of_one_species_are_varied(birds: list[BirdPicture]) -> None:
    means = np.array([b.image.mean((0, 1)) for b in birds])
    assert means.std(0).min() > 15
    colours = np.array([b.image[b.mask].mean(0) for b in birds if b.label == 4])
    assert colours.std(0).max() > 8

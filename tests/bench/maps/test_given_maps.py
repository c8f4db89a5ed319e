"""Maps made elsewhere are a method like any other: scores, faults, fingerprint."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import cambench
from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.engine.run import run
from cambench.bench.host.errors import UsageError
from cambench.bench.maps.map_files import MapFileError, read_map
from cambench.registry import RegistryError
from cambench.results.scores.shown import score_run

GOOD = "slim_resnet/gradcam/softmax"
BARE = "maps/theirs/softmax"


def draw(folder: Path, shape: tuple[int, int] = (7, 9), count: int = 10, form: str = "npy") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    maps = {f"test/{i:03d}": cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 1.5) for i in range(count)}
    for name, values in maps.items():
        path = folder / f"{name}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "npy":
            np.save(path, values)
        elif form == "npz":
            np.savez(path, map=values, other=np.zeros(3))
        else:
            levels = np.round(65535 * (values - values.min()) / (values.max() - values.min())).astype(np.uint16)
            Image.fromarray(levels).save(path)
    return maps


def made(settings: Any, **fields: Any) -> Any:
    return run(RunConfig.create(**{**settings, **fields}))


def reference(values: np.ndarray, box: np.ndarray, tau: float = 0.2) -> bool:
    """GT-known Loc of one map by OpenCV, under the protocol ``wsoleval`` at a fixed threshold."""
    up = cv2.resize(values.astype(np.float64), (224, 224), interpolation=cv2.INTER_CUBIC)
    q = np.floor(255 * (up - up.min()) / (up.max() - up.min())).astype(np.uint8)
    contours, _ = cv2.findContours((q > int(tau * q.max())).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
    x1, y1 = min(x + w, 223), min(y + h, 223)
    wide = min(x1, box[2]) - max(x, box[0]) + 1
    high = min(y1, box[3]) - max(y, box[1]) + 1
    common = max(wide, 0) * max(high, 0)
    union = (x1 - x + 1) * (y1 - y + 1) + (box[2] - box[0] + 1) * (box[3] - box[1] + 1) - common
    return bool(common / union >= 0.5)


def test_they_are_scored_beside_the_networks_own(settings: Any, tmp_path: Path) -> None:
    values = draw(tmp_path / "theirs")
    fields = {**settings, "triples": (GOOD, BARE, "slim_resnet/theirs/softmax"), "protocol": "wsoleval"}
    done = made(fields, maps={"theirs": tmp_path / "theirs"})
    found = done.records
    assert found.triples == ["slim_resnet/gradcam/softmax", "slim_resnet/theirs/softmax", BARE]
    scores = score_run(found).scores
    under, alone = scores["slim_resnet/theirs/softmax"], scores[BARE]
    assert {"average_drop", "top1_loc", "gt_known_loc", "pointing_game"} <= under.keys()
    assert {name for name in under if name not in alone} == {
        *("top1_cls", "top1_loc", "average_drop", "increase_in_confidence", "average_gain")
    }
    assert all(under[name] == value for name, value in alone.items())
    assert (found.column(BARE, "peak") == 255).all()
    import torch

    from cambench.metrics.functional.localisation import unpack_hits

    hits = unpack_hits(torch.from_numpy(found.column(BARE, "hits_single")[:, 1]))[:, 51].numpy()
    table = RunConfig.create(**fields).source.open()
    boxes = [np.array(row["boxes"][0]) * 224 / np.array([row["width"], row["height"]] * 2) for row in table.rows]
    wanted = [reference(values[f"test/{i:03d}"], boxes[i].astype(int)) for i in range(10)]
    assert hits.tolist() == wanted
    for name in ("leaderboard.md", "scores.md", "scores.csv"):
        assert "theirs" in (settings["out"] / "tables" / name).read_text()
    text = cambench.compare(cambench.load(settings["out"]), BARE, GOOD)
    assert "theirs" in str(text)


def test_alone_they_need_no_network(settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "theirs")
    fields = {name: value for name, value in settings.items() if name != "triples"}
    found = made(fields, maps={"theirs": tmp_path / "theirs"}).records
    assert found.triples == [BARE]
    assert "backbone / method" not in capsys.readouterr().err, "the closing table alone has them"
    frame = found.records(BARE)
    assert not {"correct", "predicted"} & set(frame)
    assert (frame["target"] == frame["label"]).all()
    (settings["out"] / "tables" / "scores.md").read_text()


@pytest.mark.parametrize("form", ["npz", "png"])
def test_every_kind_of_file_gives_the_same_map(settings: Any, tmp_path: Path, form: str) -> None:
    fields = {name: value for name, value in settings.items() if name not in ("triples", "out")}
    draw(tmp_path / "npy"), draw(tmp_path / form, form=form)
    maps = {"a": tmp_path / "npy", "b": tmp_path / form}
    found = made(fields, maps=maps, out=tmp_path / "runs", protocol="wsoleval").records
    scores = score_run(found).scores
    assert scores["maps/a/softmax"].keys() == scores["maps/b/softmax"].keys()
    if form == "npz":
        assert scores["maps/a/softmax"] == scores["maps/b/softmax"]


def test_maps_of_several_sizes_are_scored_one_by_one(settings: Any, tmp_path: Path) -> None:
    draw(tmp_path / "one"), draw(tmp_path / "two", (30, 12))
    both = tmp_path / "both"
    for i in range(10):
        source = tmp_path / ("one" if i % 3 else "two") / "test" / f"{i:03d}.npy"
        (both / "test").mkdir(parents=True, exist_ok=True)
        (both / "test" / f"{i:03d}.jpg.npy").write_bytes(source.read_bytes())
    maps = {"one": tmp_path / "one", "two": tmp_path / "two", "both": both}
    found = made(settings, triples=("slim_resnet/center/softmax",), maps=maps).records
    one, two, mixed = (f"slim_resnet/{name}/softmax" for name in maps)
    for column in ("hits_multi", "hits_single", "y", "o", "peak", "extra:pointing_game"):
        values = {t: found.column(t, column) for t in (one, two, mixed)}
        pick = [values[one if i % 3 else two][i] for i in range(10)]
        np.testing.assert_array_equal(values[mixed], np.stack(pick))
    assert not found.has_column(mixed, "map")


def test_what_is_wrong_is_counted_and_named(settings: Any, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "theirs"
    draw(folder)
    (folder / "test" / "000.npy").unlink()
    np.save(folder / "test" / "001.npy", np.zeros((3, 7, 9)))
    np.save(folder / "test" / "002.npy", np.array([[1.0, np.nan], [0, 0]]).repeat(5, 0)[:7].repeat(5, 1)[:, :9])
    np.save(folder / "test" / "003.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "stray.npy", np.zeros((7, 9)))
    Image.new("RGB", (9, 7), "red").save(folder / "test" / "004.png")
    (folder / "test" / "004.npy").unlink()
    (folder / "test" / "005.npy").write_bytes(b"\x93NUMPY not really")
    done = made(settings, triples=(GOOD, BARE), maps={"theirs": folder})
    said = capsys.readouterr().err.replace("\n", " ")
    assert "maps theirs: 1 image(s) have no map and are scored as empty maps: test/000.jpg" in said
    assert (
        "4 file(s) hold no map; their images are scored as empty maps: test/001.npy (an array of shape (3, 7, 9)"
        in said
    )
    assert "pickled objects, which are never loaded" in said
    assert "and 1 more" in said
    assert "1 map(s) hold NaN or infinity and are scored as empty maps: test/002.npy" in said
    assert "1 file(s) belong to no image of the split and are not read: stray.npy" in said
    flags = done.records.column(BARE, "degenerate")
    assert flags.tolist() == [2] * 6 + [0] * 4
    assert not done.lost
    assert not done.records.notes, "the folder's own words name them, once"
    assert "test/000.jpg" in (settings["out"] / "tables" / "scores.md").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "holds no .npy, .npz, .png file"),
        (lambda folder: draw(folder / "elsewhere", count=0) or _one(folder, "x.npy"), "none of the 1 files is called"),
        (lambda folder: _one(folder, "test/000.npy", np.zeros((2, 3, 4))), "no file holds a map; test/000.npy"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(settings: Any, tmp_path: Path, change: Any, words: str) -> None:
    change(tmp_path / "theirs")
    with pytest.raises(UsageError, match=words):
        made(settings, triples=(GOOD,), maps={"theirs": tmp_path / "theirs"})


def _one(folder: Path, name: str, values: Any = None) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, np.zeros((3, 3)) if values is None else values)


def test_names_and_triples_that_cannot_be(settings: Any, tmp_path: Path) -> None:
    draw(tmp_path / "m")
    with pytest.raises(RegistryError, match="already registered"):
        made(settings, triples=(GOOD,), maps={"gradcam": tmp_path / "m"})
    with pytest.raises(UsageError, match="depend on no head; write slim_resnet/theirs/softmax"):
        made(settings, triples=("slim_resnet/theirs/sigmoid",), maps={"theirs": tmp_path / "m"})
    with pytest.raises(UsageError, match="give them with --maps other=DIR"):
        made(settings, triples=("maps/other/softmax",))


def test_changed_maps_are_scored_anew_and_nothing_else(settings: Any, tmp_path: Path) -> None:
    draw(tmp_path / "theirs")
    fields = {**settings, "triples": (GOOD, BARE), "maps": {"theirs": tmp_path / "theirs"}}
    before = made(fields).records
    old = before.column(BARE, "hits_single")
    files = {p: p.stat().st_mtime_ns for p in (settings["out"] / "records" / "slim_resnet").rglob("*.parquet")}
    np.save(tmp_path / "theirs" / "test" / "004.npy", np.eye(7, 9))
    after = made(fields).records
    assert (after.column(BARE, "hits_single")[4] != old[4]).any()
    np.testing.assert_array_equal(np.delete(after.column(BARE, "hits_single"), 4, 0), np.delete(old, 4, 0))
    assert files == {p: p.stat().st_mtime_ns for p in files}


def test_a_picture_comes_through_the_door_of_all_pictures(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    with pytest.raises(MapFileError, match="not an image of a known format"):
        read_map(file)


def test_a_damaged_array_is_no_map_and_takes_no_memory(tmp_path: Path) -> None:
    """A header that promises 8 TB ended in a MemoryError."""
    promised = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    np.savez_compressed(tmp_path / "z.npz", a=np.arange(4096.0).reshape(64, 64))
    packed = bytearray((tmp_path / "z.npz").read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    for name, data in (("a.npy", b"\x93NUMPY\x01\x00v\x00" + promised), ("b.npz", bytes(packed)), ("c.npy", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MapFileError, match="it cannot be read"):
            read_map(tmp_path / name)

"""The door of pictures: a closed list of formats, whatever a file is called; orientation only where it is asked for."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from cambench.datasets.batches.images import open_picture
from cambench.datasets.batches.loading import load_batches
from cambench.datasets.disk.files import FileIndex
from cambench.datasets.open import open_table
from cambench.datasets.tables.headers import read_headers, read_sizes
from cambench.opener import (
    ORIENTATION,
    SUFFIXES,
    UnreadableImageError,
    decode,
    formats,
    header_of,
    is_other_picture,
    is_picture,
)  # fmt: skip

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n%%EOF\n"


def encoded(name: str, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 90)).save(buffer, name)
    return buffer.getvalue()


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in ``gs`` that leaves a mark where Pillow's EPS reader runs it."""
    mark, tool = tmp_path / "was-run", tmp_path / "bin" / "gs"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ntouch {mark}\necho 10.0\n")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return mark


def test_the_stand_in_is_what_pillow_would_run(ghostscript: Path) -> None:
    with pytest.raises(OSError, match="."):
        Image.open(io.BytesIO(POSTSCRIPT)).load()
    assert ghostscript.exists()


def test_postscript_named_jpg_is_a_damaged_image_and_runs_nothing(
    ghostscript: Path, tmp_path: Path, own_cache: Path
) -> None:
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    (folder / "evil.jpg").write_bytes(POSTSCRIPT)
    (folder / "good.jpg").write_bytes(encoded("JPEG"))
    table = open_table("folder", folder.parent, "test")
    (batch,) = load_batches(table, range(2), 32, 2, 0)
    assert batch.image_ids == ("a/good.jpg",)
    assert batch.failures[0].reason.startswith("not an image of a known format (JPEG, PNG, WEBP, TIFF, BMP, GIF, PPM")
    assert "%!PS-Ado" in batch.failures[0].reason
    with pytest.raises(UnreadableImageError, match="not an image of a known format"):
        header_of(folder / "evil.jpg")
    assert not ghostscript.exists()


@pytest.mark.parametrize("name", ["EPS", "ICO", "TGA", "PCX", "SGI", "IM", "DDS", "JPEG2000", "PDF"])
def test_every_other_format_is_refused(name: str) -> None:
    with pytest.raises(UnreadableImageError, match="not an image of a known format"):
        decode(encoded(name))


def test_no_format_outside_the_list_is_tried() -> None:
    assert set(formats()) <= set(SUFFIXES)
    assert {"JPEG", "PNG", "TIFF", "BMP", "GIF"} <= set(formats())


@pytest.mark.parametrize("name", [n for n in SUFFIXES if n in formats()])
def test_every_format_of_the_list_in_any_case(name: str, tmp_path: Path, own_cache: Path) -> None:
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    files = []
    for suffix in SUFFIXES[name]:
        for spelled in (suffix, suffix.upper(), suffix.title()):
            file = folder / f"{spelled[1:]}{len(files)}{spelled}"
            file.write_bytes(encoded(name))
            files.append(f"a/{file.name}")
    table = open_table("folder", folder.parent, "test")
    assert sorted(table.rows["image_id"]) == sorted(files)
    (batch,) = load_batches(table, range(len(table)), 32, len(table), 0)
    assert not batch.failures


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert decode(buffer.getvalue()).convert("RGB").getpixel((4, 4)) == (255, 0, 0)


def test_pictures_in_other_formats_are_told(tmp_path: Path, own_cache: Path) -> None:
    for name in ("x.jpg", "y.HEIC", "z.svg", "notes.txt", "._x.jpg", ".DS_Store"):
        (tmp_path / "set" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / "a" / name).write_bytes(encoded("JPEG"))
    table = open_table("folder", tmp_path / "set", "test")
    assert list(table.rows["image_id"]) == ["a/x.jpg"]
    assert any(
        "2 pictures are left out, in formats that are not opened: a/y.HEIC, a/z.svg" in w for w in table.warnings
    )
    assert not is_picture("a/._x.jpg")
    assert is_other_picture("a/y.HEIC")


def test_multi_picture_jpegs_of_phones(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert header_of(tmp_path / "x.jpg") == (16, 8, 1)
    red, green, _ = decode((tmp_path / "x.jpg").read_bytes()).convert("RGB").getpixel((4, 4))
    assert red > 200 > 50 > green


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_only_where_it_is_asked_for(tmp_path: Path, orientation: int) -> None:
    image = Image.new("RGB", (40, 20), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 9, 4), fill="red")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    picture = {"bytes": None, "path": str(tmp_path / "x.png")}
    with Image.open(tmp_path / "x.png") as stored:
        turned = ImageOps.exif_transpose(stored)
        assert np.array_equal(np.asarray(open_picture(picture)), np.asarray(stored))
    assert np.array_equal(np.asarray(open_picture(picture, "apply")), np.asarray(turned))
    assert read_headers([picture["path"]]).tolist() == [[40, 20, orientation]]
    for exif_rule, size in (("ignore", (40, 20)), ("apply", turned.size)):
        width, height = read_sizes([picture["path"]], exif=exif_rule)
        assert (int(width[0]), int(height[0])) == size


def test_a_hidden_file_is_no_row_of_a_listing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert FileIndex().size(str(tmp_path / "a.jpg")) == 1

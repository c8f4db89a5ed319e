"""The one door through which pictures are opened: a closed list of formats, whatever a file calls itself."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image, ImageOps, UnidentifiedImageError

Exif = Literal["ignore", "apply"]
"""What is done with EXIF orientation. Published evaluators ignore it, and published boxes belong to those pixels."""
EXIF_CHOICES: tuple[Exif, ...] = ("ignore", "apply")
ORIENTATION = 0x0112
"""EXIF tag of the orientation: 1 as stored, 2–8 turned or mirrored."""
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
}
"""The formats that are opened, and how their files' names end (in any case).

Pillow knows some thirty more. They are closed: its EPS reader hands the file to Ghostscript, which runs what is in it.
"""
_OTHERS = (
    "heic heif jp2 j2k jpx jxl jxr svg svgz eps ps psd dng raw cr2 cr3 nef arw orf rw2 tga ico exr hdr dcm xcf psp"
)
OTHER_SUFFIXES = frozenset(f".{name}" for name in _OTHERS.split())
"""Endings of pictures in formats that are not opened: such files are told, not passed over."""


class UnreadableImageError(ValueError):
    """A picture that cannot be decoded; the message is the reason."""


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are opened: those of ``SUFFIXES`` that this Pillow can read."""
    Image.init()
    return tuple(name for name in SUFFIXES if name in Image.OPEN)


@cache
def _endings() -> frozenset[str]:
    return frozenset(suffix for name in formats() for suffix in SUFFIXES[name])


def suffix_of(name: str) -> str:
    """The ending of a file's name in lower case; empty for hidden files (macOS keeps ``._x.jpg`` beside ``x.jpg``)."""
    last = name.rpartition("/")[2]
    return "" if last.startswith(".") else PurePosixPath(last).suffix.lower()


def is_picture(name: str) -> bool:
    """Whether a file's name ends as one of a format that is opened."""
    return suffix_of(name) in _endings()


def is_other_picture(name: str) -> bool:
    """Whether a file's name ends as a picture's in a format that is not opened here."""
    suffix = suffix_of(name)
    return suffix not in _endings() and (suffix in OTHER_SUFFIXES or any(suffix in s for s in SUFFIXES.values()))


def open_header(source: bytes | str | Path) -> Image.Image:
    """A picture whose pixels are not decoded yet, of bytes or of a file (which the caller closes).

    Raises:
        UnreadableImageError: No picture of a format that is opened.
        OSError: The file cannot be read.
    """
    data = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return Image.open(data, formats=formats())
    except UnidentifiedImageError:
        raise UnreadableImageError(_unknown(source)) from None
    except OSError:
        raise
    except Exception as error:  # Pillow's readers raise anything on hostile bytes
        raise UnreadableImageError(f"cannot be decoded: {error}") from error


def _unknown(source: bytes | str | Path) -> str:
    if isinstance(source, bytes):
        start = source[:8]
    else:
        with Path(source).open("rb") as file:
            start = file.read(8)
    return f"not an image of a known format ({', '.join(formats())}): it starts with {start!r}"


def decode(data: bytes, exif: Exif = "ignore") -> Image.Image:
    """The picture of encoded bytes, fully decoded: the first frame where there are several.

    Args:
        data: The file's contents.
        exif: ``apply`` turns the picture as its EXIF orientation says, as viewers and annotation tools show it.

    Raises:
        UnreadableImageError: Empty, truncated, too large, or not an image of ``SUFFIXES``; the message says which.
    """
    if not data:
        raise UnreadableImageError("empty file (0 bytes)")
    try:
        image = open_header(data)
        image.load()
        return ImageOps.exif_transpose(image) if exif == "apply" else image
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's readers raise anything on hostile bytes
        raise UnreadableImageError(f"cannot be decoded: {error}") from error


def header_of(source: bytes | str | Path) -> tuple[int, int, int]:
    """(width, height, EXIF orientation) from a picture's header: stored pixels, and 1 where there is no orientation.

    Raises:
        UnreadableImageError, OSError: As ``open_header``.
    """
    with open_header(source) as image:
        width, height = image.size
        if image.format == "TIFF":
            # Pillow turns these itself, as the format says, and so does every viewer: nothing is left to choose.
            return width, height, 1
        try:
            value = int(image.getexif().get(ORIENTATION, 1))
        except Exception:  # damaged EXIF: no viewer turns such a picture
            value = 1
    return width, height, value if 1 <= value <= 8 else 1

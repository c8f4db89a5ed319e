"""Pixels of a sample's pictures: files, bytes in the table, or members of an archive that is read in place."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..disk.archives import is_member, read_member

BILINEAR = Image.Resampling.BILINEAR
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class UnreadableImageError(ValueError):
    """A picture that cannot be decoded; the message is the reason."""


def picture_bytes(picture: Mapping[str, Any]) -> bytes:
    """Encoded bytes of ``{"bytes", "path"}``; OSError where they cannot be read."""
    if picture.get("bytes") is not None:
        return bytes(picture["bytes"])
    path = str(picture["path"])
    return read_member(path) if is_member(path) else Path(path).read_bytes()


def open_picture(picture: Mapping[str, Any]) -> Image.Image:
    """The picture, fully decoded.

    EXIF orientation is not applied: the published evaluators open with ``Image.open(...).convert("RGB")`` and the
    published boxes belong to those pixels.

    Raises:
        UnreadableImageError: Missing, empty, truncated, too large, or not an image; the message says which.
    """
    try:
        data = picture_bytes(picture)
    except FileNotFoundError:
        raise UnreadableImageError(f"no such file: {picture['path']}") from None
    except (OSError, EOFError) as error:
        raise UnreadableImageError(f"cannot be read: {error}") from error
    if not data:
        raise UnreadableImageError("empty file (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        raise UnreadableImageError(f"not an image (starts with {data[:8]!r})") from None
    except Exception as error:  # Pillow's plugins raise anything on hostile bytes
        raise UnreadableImageError(f"cannot be decoded: {error}") from error
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: grey, palette, CMYK, 1-bit and alpha by Pillow's conversion; 16-bit grey by its high byte.

    Raises:
        UnreadableImageError: A mode without an agreed meaning as colours (float).
    """
    if image.mode == "RGB":
        return image
    if image.mode in _SIXTEEN_BIT:
        # Pillow clips 16-bit values at 255, which would turn nearly every pixel white.
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if image.mode == "F":
        raise UnreadableImageError("floating-point image; convert it to 8-bit RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def decode_rgb(picture: Mapping[str, Any], size: int) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Pixels (R,R,3) uint8, squashed, and the (width, height) of the file.

    Pillow's anti-aliased bilinear resize: exactly ``torchvision.transforms.functional.resize`` of the PIL image.
    """
    image = open_picture(picture)
    rgb = to_rgb(image)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), BILINEAR)
    return np.asarray(rgb), image.size


def decode_mask(picture: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """Grey values (H,W) uint8 of a mask, at its own size."""
    image = open_picture(picture)
    if image.mode in _SIXTEEN_BIT:
        return (np.asarray(image) > 0).astype(np.uint8) * 255
    return np.asarray(image.convert("L"))

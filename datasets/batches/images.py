"""Pixels of a sample's pictures: files, bytes in the table, or members of an archive that is read in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...opener import Exif, UnreadableImageError, decode
from ..disk.archives import is_member, read_member

__all__ = [
    "BILINEAR",
    "UnreadableImageError",
    "decode_mask",
    "decode_rgb",
    "open_picture",
    "picture_bytes",
    "to_rgb",
]

BILINEAR = Image.Resampling.BILINEAR
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def picture_bytes(picture: Mapping[str, Any]) -> bytes:
    """Encoded bytes of ``{"bytes", "path"}``; OSError where they cannot be read."""
    if picture.get("bytes") is not None:
        return bytes(picture["bytes"])
    path = str(picture["path"])
    return read_member(path) if is_member(path) else Path(path).read_bytes()


def open_picture(picture: Mapping[str, Any], exif: Exif = "ignore") -> Image.Image:
    """The picture, fully decoded.

    Args:
        picture: ``{"bytes", "path"}`` of a row.
        exif: ``ignore`` (published sets): the stored pixels, as ``Image.open(...).convert("RGB")`` of the published
            evaluators gives them; ``apply``: turned as the EXIF orientation says.

    Raises:
        UnreadableImageError: Missing, empty, truncated, too large, or not an image; the message says which.
    """
    try:
        data = picture_bytes(picture)
    except FileNotFoundError:
        raise UnreadableImageError(f"no such file: {picture['path']}") from None
    except (OSError, EOFError) as error:
        raise UnreadableImageError(f"cannot be read: {error}") from error
    return decode(data, exif)


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


def decode_rgb(
    picture: Mapping[str, Any], size: int, exif: Exif = "ignore"
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Pixels (R,R,3) uint8, squashed, and the (width, height) of the picture, turned where ``exif`` applies.

    Pillow's anti-aliased bilinear resize: exactly ``torchvision.transforms.functional.resize`` of the PIL image.
    """
    image = open_picture(picture, exif)
    rgb = to_rgb(image)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), BILINEAR)
    return np.asarray(rgb), image.size


def decode_mask(picture: Mapping[str, Any], exif: Exif = "ignore") -> npt.NDArray[np.uint8]:
    """Grey values (H,W) uint8 of a mask, at its own size."""
    image = open_picture(picture, exif)
    if image.mode in _SIXTEEN_BIT:
        return (np.asarray(image) > 0).astype(np.uint8) * 255
    return np.asarray(image.convert("L"))

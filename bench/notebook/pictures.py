"""Pictures in any of the forms that a notebook holds, as the engine's pixels: uint8 at R×R."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ...datasets.batches import BILINEAR, UnreadableImageError, open_picture, to_rgb
from ..host.errors import UsageError

ImageLike = str | Path | Image.Image | npt.NDArray[Any] | Tensor
Images = ImageLike | Sequence[ImageLike]
FORMS = (
    "a path, a PIL image, an array (H,W,3) uint8, a tensor (3,H,W), a batch of arrays or tensors, or a list of these"
)


@dataclass(frozen=True)
class Pictures:
    """Pictures as a run decodes them.

    Attributes:
        image_ids: Paths as given, else ``image 0`` … by position.
        pixels: uint8 (B,3,R,R), on the CPU.
        sizes: Width and height (B,2) int64 of the originals.
    """

    image_ids: tuple[str, ...]
    pixels: Tensor
    sizes: Tensor


def read_pictures(images: Images, size: int, image_ids: Sequence[str] | None = None) -> Pictures:
    """Decode, convert to RGB and squash to R×R (Pillow's bilinear), exactly as a run does with its files.

    Args:
        images: ``FORMS``. Tensors and arrays hold 8-bit values, or fractions in [0, 1], which are rounded to 8 bits.
        size: Working size R in pixels.
        image_ids: One id an image; random methods draw their seeds from them.

    Raises:
        UsageError: No image; another form, shape or range; ids that do not match. The message names the image.
    """
    found = list(_named(images))
    if not found:
        raise UsageError(f"images: none given; expected {FORMS}")
    if image_ids is not None and len(image_ids) != len(found):
        raise UsageError(f"image_ids: {len(image_ids)} for {len(found)} images")
    ids = tuple(name for name, _ in found) if image_ids is None else tuple(image_ids)
    sizes = torch.tensor([picture.size for _, picture in found], dtype=torch.int64)
    squashed = [p if p.size == (size, size) else p.resize((size, size), BILINEAR) for _, p in found]
    pixels = torch.from_numpy(np.stack([np.asarray(p) for p in squashed])).permute(0, 3, 1, 2).contiguous()
    return Pictures(ids, pixels, sizes)


def _named(images: Images) -> Iterator[tuple[str, Image.Image]]:
    for number, one in enumerate(_single(images)):
        name = str(one) if isinstance(one, str | Path) else f"image {number}"
        try:
            yield name, _rgb(one)
        except (UnreadableImageError, UsageError) as error:
            raise UsageError(f"{name}: {error}") from None


def _single(images: Images) -> Iterator[ImageLike]:
    if isinstance(images, str | Path | Image.Image):
        yield images
    elif isinstance(images, Tensor | np.ndarray):
        if images.ndim == 4:
            yield from images
        else:
            yield images
    elif isinstance(images, Sequence):
        for one in images:
            yield from _single(one)
    else:
        raise UsageError(f"images: got {type(images).__name__}; expected {FORMS}")


def _rgb(image: ImageLike) -> Image.Image:
    if isinstance(image, str | Path):
        if str(image).startswith(("http:/", "https:/")):
            raise UsageError("an address; download it and give the file")
        if Path(image).expanduser().is_dir():
            raise UsageError(f"a folder; give its pictures, e.g. sorted(Path({str(image)!r}).glob('*.jpg'))")
        return to_rgb(open_picture({"bytes": None, "path": str(Path(image).expanduser())}))
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, Tensor):
        values = (image.detach().float() if image.is_floating_point() else image).cpu().numpy()
        return Image.fromarray(_eight_bit(values, "(3,H,W)", channel=0).transpose(1, 2, 0).copy())
    return Image.fromarray(np.ascontiguousarray(_eight_bit(np.asarray(image), "(H,W,3)", channel=-1)))


def _eight_bit(values: npt.NDArray[Any], expected: str, *, channel: int) -> npt.NDArray[np.uint8]:
    if values.ndim != 3 or values.shape[channel] != 3 or not values.size:
        what = "tensor" if channel == 0 else "array"
        raise UsageError(f"{what} of shape {values.shape}, expected {expected}, three colours")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise UsageError(f"values of {values.dtype}, expected uint8, or fractions in [0, 1]")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        low, high = values.min(), values.max()
        raise UsageError(
            f"values from {low:g} to {high:g}, expected fractions in [0, 1] or uint8; give pixels as they are, "
            "explain normalises them"
        )
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)

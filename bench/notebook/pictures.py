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

from ...datasets.batches import BILINEAR, UnreadableImageError, centre, open_picture, to_rgb
from ...home import expanded
from ...text import number_of
from ..host.errors import UsageError

ImageLike = str | Path | Image.Image | npt.NDArray[Any] | Tensor
Images = ImageLike | Sequence[ImageLike]
Pixels = npt.NDArray[np.uint8]
COLOURS = 3
FORMS = (
    "a path, a PIL image, an array (H,W,3) uint8, a tensor (3,H,W), a batch of arrays or tensors, or a list of these"
)


@dataclass(frozen=True)
class Pictures:
    """Pictures as a run decodes them.

    Attributes:
        image_ids: Paths as given, else ``image 0`` … by position.
        pixels: uint8 (B,C,R,R), on the CPU.
        sizes: Width and height (B,2) int64 of the originals.
        sources: The pictures as they were given.
    """

    image_ids: tuple[str, ...]
    pixels: Tensor
    sizes: Tensor
    sources: tuple[ImageLike, ...]

    def rows(self, which: Tensor) -> Pictures:
        """The pictures of the given numbers (R,), in that order; any may occur several times."""
        numbers = which.tolist()
        ids, sources = tuple(self.image_ids[i] for i in numbers), tuple(self.sources[i] for i in numbers)
        return Pictures(ids, self.pixels[which], self.sizes[which], sources)


def read_pictures(
    images: Images,
    size: int,
    image_ids: Sequence[str] | None = None,
    channels: int = COLOURS,
    crop_from: int | None = None,
) -> Pictures:
    """Decode, convert to RGB and squash to R×R (Pillow's bilinear), exactly as a run does with its files.

    Args:
        images: ``FORMS``. Tensors and arrays hold 8-bit values, or fractions in [0, 1], which are rounded to 8 bits.
        size: Working size R in pixels.
        image_ids: One id an image; random methods draw their seeds from them.
        channels: Of the images that the network takes. A network of one channel takes colours too, and grey pictures
            are colours; of other counts, arrays (H,W,C) and tensors (C,H,W) have as many bands.
        crop_from: Side that images are squashed to, of which R×R is the centre; None: R.

    Raises:
        UsageError: No image; another form, shape or range; ids that do not match. The message names the image.
    """
    found: list[tuple[str, ImageLike, Pixels]] = []
    for number, one in enumerate(_single(images)):
        name = str(one) if isinstance(one, str | Path) else f"image {number}"
        try:
            found.append((name, one, bands_of(one, channels)))
        except (UnreadableImageError, UsageError) as error:
            said = str(error)
            raise UsageError(said if name in said else f"{name}: {said}") from None
    if not found:
        raise UsageError(f"images: none given; expected {FORMS}")
    if image_ids is not None and len(image_ids) != len(found):
        raise UsageError(f"image_ids: {len(image_ids)} for {number_of(len(found), 'image')}")
    ids = tuple(name for name, _, _ in found) if image_ids is None else tuple(image_ids)
    sizes = torch.tensor([[p.shape[1], p.shape[0]] for _, _, p in found], dtype=torch.int64)
    squashed = [centre(_squashed(p, crop_from or size), size) for _, _, p in found]
    pixels = torch.from_numpy(np.stack(squashed)).permute(0, 3, 1, 2).contiguous()
    return Pictures(ids, pixels, sizes, tuple(source for _, source, _ in found))


def bands_of(image: ImageLike, channels: int = COLOURS) -> Pixels:
    """A picture (H,W,3) uint8, or (H,W,C) of a network of C channels where C is neither 1 nor 3.

    Raises:
        UsageError: Another form, shape or range, or a file that is not there. UnreadableImageError: A broken file.
    """
    if channels in (1, COLOURS):
        return np.asarray(_rgb(image, flat=channels == 1))
    if isinstance(image, str | Path | Image.Image):
        raise UsageError(f"a picture; the network takes {channels} bands: give an array (H,W,{channels})")
    if isinstance(image, Tensor):
        values = _numbers(image)
        return np.ascontiguousarray(_eight_bit(values, f"({channels},H,W)", 0, channels).transpose(1, 2, 0))
    return np.ascontiguousarray(_eight_bit(np.asarray(image), f"(H,W,{channels})", -1, channels))


def colours_of(bands: Pixels) -> Pixels:
    """Bands (H,W,C) as a picture (H,W,3) to look at: grey of one or two, the first three of more."""
    return bands[..., :COLOURS] if bands.shape[-1] >= COLOURS else bands[..., :1].repeat(COLOURS, -1)


def _squashed(bands: Pixels, size: int) -> Pixels:
    if bands.shape[:2] == (size, size):
        return bands
    if bands.shape[-1] == COLOURS:
        return np.asarray(Image.fromarray(bands).resize((size, size), BILINEAR))
    layers = [Image.fromarray(bands[..., k]).resize((size, size), BILINEAR) for k in range(bands.shape[-1])]
    return np.stack([np.asarray(layer) for layer in layers], -1)


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


def _rgb(image: ImageLike, flat: bool) -> Image.Image:
    if isinstance(image, str | Path):
        if str(image).startswith(("http:/", "https:/")):
            raise UsageError("an address; download it and give the file")
        if expanded(image).is_dir():
            raise UsageError(f"a folder; give its pictures, e.g. sorted(Path({str(image)!r}).glob('*.jpg'))")
        return to_rgb(open_picture({"bytes": None, "path": str(expanded(image))}))
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, Tensor):
        values = _as_colours(_numbers(image), 0, flat)
        return Image.fromarray(_eight_bit(values, "(3,H,W)", 0, COLOURS).transpose(1, 2, 0).copy())
    values = _as_colours(np.asarray(image), -1, flat)
    return Image.fromarray(np.ascontiguousarray(_eight_bit(values, "(H,W,3)", -1, COLOURS)))


def _numbers(image: Tensor) -> npt.NDArray[Any]:
    return (image.detach().float() if image.is_floating_point() else image.detach()).cpu().numpy()


def _as_colours(values: npt.NDArray[Any], channel: int, flat: bool) -> npt.NDArray[Any]:
    """Values of one channel, and grey (H,W) where ``flat``, as three equal colours; others as they are."""
    if flat and values.ndim == 2:
        values = np.expand_dims(values, channel)
    return values.repeat(COLOURS, channel) if values.ndim == 3 and values.shape[channel] == 1 else values


def _eight_bit(values: npt.NDArray[Any], expected: str, channel: int, count: int) -> Pixels:
    if values.ndim != 3 or values.shape[channel] != count or not values.size:
        what = "tensor" if channel == 0 else "array"
        names = "three colours" if count == COLOURS else f"{count} bands"
        raise UsageError(f"{what} of shape {values.shape}, expected {expected}, {names}")
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

"""Class names and WordNet ids of people's folders and files, as classes of an ImageNet network."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from ..findings import some
from ..schema import DatasetError
from .wnids import imagenet_class_names, imagenet_wnids

_WNID = re.compile(r"n[0-9]{8}(?![0-9])")
"""A label may go on behind its WordNet id, as in ``n02123045_tabby``."""


def network_names() -> tuple[str, ...]:
    """The classes of every network with ImageNet's classes, by index."""
    return imagenet_class_names()


@cache
def _spellings() -> Mapping[str, int]:
    """Every way to write a class -> its index: wnid, shown name, and each word of its synset that no other has."""
    from timm.data import ImageNetInfo

    descriptions = ImageNetInfo("imagenet-1k").label_descriptions(detailed=False)
    words = [[plain_name(w) for w in text.split(",")] for text in descriptions]
    often = Counter(w for group in words for w in set(group))
    found = {w: i for i, group in enumerate(words) for w in group if often[w] == 1}
    found |= {plain_name(name): i for i, name in enumerate(imagenet_class_names())}
    return found | {wnid: i for i, wnid in enumerate(imagenet_wnids())}


def plain_name(text: str) -> str:
    """A class name without what people write differently: case, hyphens, underscores, spaces, Unicode form."""
    return " ".join(unicodedata.normalize("NFC", text).replace("_", " ").replace("-", " ").casefold().split())


def network_indices(labels: Sequence[str], numbers: Mapping[str, int], where: object) -> dict[str, int]:
    """Label -> index among ImageNet's 1,000 classes.

    Args:
        labels: As in the file or the folders' names.
        numbers: Those of them that are whole numbers: indices themselves.
        where: For messages.

    Raises:
        DatasetError: A label is none of ImageNet's classes; the nearest names are told.
    """
    spellings, count = _spellings(), len(imagenet_wnids())
    found: dict[str, int] = {}
    lost: list[str] = []
    for label in labels:
        wnid = _WNID.match(label)
        index = numbers.get(label, spellings.get(wnid[0] if wnid else plain_name(label), -1))
        if 0 <= index < count:
            found[label] = index
        else:
            near = difflib.get_close_matches(plain_name(label), spellings, n=1, cutoff=0.7)
            lost.append(f"{label!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if lost:
        raise DatasetError(
            f"{where}: labels=network, and {len(lost):,} of {len(labels):,} labels are no class of ImageNet: "
            f"{some(lost)}. Write WordNet ids (n02123045), names (tabby cat) or indices (281)"
        )
    return found

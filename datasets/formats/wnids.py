"""ImageNet-1K's classes in the order of every published network: rank of the wnid."""

from __future__ import annotations

from collections import Counter
from functools import cache


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The 1,000 wnids in sorted order: the index is the label."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """Readable names by label (first lemma, the wnid behind it where two classes share one)."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    names = [text.split(",")[0] for text in info.label_descriptions(detailed=False)]
    often = Counter(names)
    return tuple(
        f"{name} ({wnid})" if often[name] > 1 else name for name, wnid in zip(names, imagenet_wnids(), strict=True)
    )

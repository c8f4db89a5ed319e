"""The splits that a reproduction reads: opened, or, for a plan alone, known from their published counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...datasets.schema import DATASETS, DatasetError, SampleTable
from .requests import Reproduction


@dataclass(frozen=True)
class PublishedSplit:
    """A split that is not on this machine: its published number of images and classes."""

    name: str
    split: str
    images: int
    num_classes: int

    def __len__(self) -> int:
        return self.images


Split = SampleTable | PublishedSplit


def tables_of(request: Reproduction, dataset: str, split: str) -> SampleTable:
    """A split of a data set, limited as requested."""
    return request.source_of(dataset, split).open().head(request.limit)


def open_splits(
    request: Reproduction, datasets: Sequence[str], *, without_data: bool
) -> tuple[dict[str, tuple[Split, Split]], list[str]]:
    """Train and test of every data set, and what is missing; ``without_data``: this from the published counts.

    Raises:
        DatasetError: Something is missing, all of it in one message; never ``without_data``.
    """
    found: dict[str, tuple[Split, Split]] = {}
    missing: list[str] = []
    for dataset in datasets:
        try:
            found[dataset] = (tables_of(request, dataset, "train"), tables_of(request, dataset, "test"))
        except DatasetError as error:
            missing.append(str(error))
            found[dataset] = (published_split(request, dataset, "train"), published_split(request, dataset, "test"))
    if missing and not without_data:
        raise DatasetError("\n".join(missing))
    return found, missing


def published_split(request: Reproduction, dataset: str, split: str) -> PublishedSplit:
    """A split as it was published, limited as requested."""
    spec = DATASETS.get(dataset)
    images = spec.counts[split]
    return PublishedSplit(dataset, split, min(images, request.limit or images), spec.num_classes or 0)


def subsets(*tables: Split) -> list[str]:
    """A line for each split that has another number of images than the published one."""
    counts = {t.split: DATASETS.get(t.name).counts.get(t.split) for t in tables}
    return [
        f"{t.name} {t.split}: {len(t):,} images, published are {counts[t.split]:,}: not the paper's data set"
        for t in tables
        if counts[t.split] not in (None, len(t))
    ]

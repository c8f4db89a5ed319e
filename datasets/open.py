"""Opening a data set by name: the one entry point of the runs, the doctor and the listings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..declared import Place, declared
from ..home import expanded
from ..registry import UnknownNameError
from .disk.urls import check_protocol, local_name, url_of
from .schema import DATASETS, SPLITS, DatasetError

if TYPE_CHECKING:
    from .schema import SampleTable, Split

__all__ = [
    "PLACE",
    "DataSource",
    "Rooted",
    "check_root",
    "existing_root",
    "local_name",
    "local_root",
    "open_table",
    "url_of",
]

PLACE = Place("datasets.schema", "DATASETS", "DatasetSpec")
"""Where the data sets are registered."""


class Rooted(Protocol):
    """What must be known of a data set to say whether a root will do."""

    @property
    def name(self) -> str:
        """Registered name."""

    @property
    def title(self) -> str:
        """Name for people."""

    @property
    def needs_root(self) -> bool:
        """It needs a folder."""


@dataclass(frozen=True)
class DataSource:
    """A split of a data set as it is asked for: what a run, a training, a figure and the doctor open.

    Attributes:
        name: Registered name (``cub``, ``imagenet``, ``wsol``, …).
        root: Folder (or archive, where the adapter reads one) that holds the data as published; or its URL, of which a
            copy is kept in the cache.
        split: ``train``, ``val`` or ``test``.
        options: The adapter's own options (``{"metadata": DIR, "missing": "skip"}``, …).

    Example:
        >>> source = DataSource("synthbirds")
        >>> source.of("train").split
        'train'
    """

    name: str
    root: str | Path | None = None
    split: str = "test"
    options: Mapping[str, Any] = field(default_factory=dict)

    def of(self, split: str) -> DataSource:
        """Another split of the same data."""
        return replace(self, split=split)

    def check(self) -> None:
        """Raise what ``open`` would raise for the name, the split and a root that is missing, in a moment.

        Nothing is imported that loads torch or Arrow, and no data is read.
        """
        known = declared(PLACE)
        spec: Rooted
        if known is None:
            spec = DATASETS.get(self.name)
        elif self.name in known.entries:
            spec = known.entries[self.name]
        else:
            raise UnknownNameError(known.kind, self.name, known.entries)
        self._known_split()
        check_root(spec, self.root)

    def open(self) -> SampleTable:
        """The table of the split.

        Raises:
            UnknownNameError: No data set has this name (the message has the nearest ones).
            DatasetError: The root is missing, the split does not exist, or the data on disk is bad.
        """
        spec = DATASETS.get(self.name)
        split = self._known_split()
        options = {key: local_name(v) if isinstance(v, str) else v for key, v in self.options.items()}
        return spec.load(local_root(spec, self.root), split, options)

    def _known_split(self) -> Split:
        for split in SPLITS:
            if split == self.split:
                return split
        raise DatasetError(f"{self.name}: no split {self.split!r}; choose one of {', '.join(SPLITS)}")


def open_table(name: str, root: str | Path | None = None, split: str = "test", **options: Any) -> SampleTable:
    """The table of one split of a registered data set: ``DataSource(name, root, split, options).open()``.

    Args:
        name: Registered name (``cub``, ``imagenet``, ``wsol``, …).
        root: Folder (or archive, where the adapter reads one) that holds the data as published; or its URL, of which a
            copy is kept in the cache.
        split: ``train``, ``val`` or ``test``.
        **options: The adapter's own options (``metadata=DIR``, ``missing="skip"``, …).

    Raises:
        UnknownNameError, DatasetError: As ``DataSource.open``.
    """
    return DataSource(name, root, split, options).open()


def check_root(spec: Rooted, root: str | Path | None) -> Path | None:
    """The absolute root, or None for a data set that needs none; ``DatasetError`` where it is missing.

    A URL stays what it is; that something lies there is not asked.
    """
    if root is None:
        if spec.needs_root:
            raise DatasetError(f"{spec.name}: --root is needed: the folder that holds {spec.title}")
        return None
    return existing_root(spec.name, root)


def local_root(spec: Rooted, root: str | Path | None) -> Path | None:
    """``check_root``, and of a URL the copy in the cache, brought up to date."""
    path = check_root(spec, root)
    url = None if path is None else url_of(path)
    if url is None:
        return path
    # Imports Arrow, as the adapter does.
    from .tables.remote import local_copy

    return local_copy(url)


def existing_root(name: str, root: str | Path) -> Path:
    """The absolute root of the data set ``name``; ``DatasetError`` where it is missing. Needs no adapter."""
    url = url_of(root)
    if url is not None:
        check_protocol(url)
        return Path(root)
    path = expanded(local_name(str(root)))
    try:
        exists = path.exists()
    except OSError as error:
        raise DatasetError(f"{name}: root {path} cannot be read: {error.strerror}") from error
    if not exists:
        raise DatasetError(f"{name}: root {path} does not exist{_nearest(path)}")
    path = path.resolve()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{name}: the name of root {str(path)!r} is not UTF-8; rename the folder") from None
    return path


def _nearest(path: Path) -> str:
    """What does exist above a missing path."""
    parent = next((p for p in path.absolute().parents if p.is_dir()), None)
    if parent is None:
        return ""
    try:
        entries = sorted(p.name for p in parent.iterdir())[:6]
    except OSError:
        return f"; {parent} exists but cannot be listed"
    return f"; {parent} exists and holds {', '.join(entries) if entries else 'nothing'}"

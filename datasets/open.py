"""Opening a data set by name: the one entry point of the runs, the doctor and the listings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

from .schema import DATASETS, DatasetError, DatasetSpec, SampleTable, Split


def open_table(name: str, root: str | Path | None = None, split: str = "test", **options: Any) -> SampleTable:
    """The table of one split of a registered data set.

    Args:
        name: Registered name (``cub``, ``imagenet``, ``wsol``, …).
        root: Folder (or archive, where the adapter reads one) that holds the data as published.
        split: ``train``, ``val`` or ``test``.
        **options: The adapter's own options (``metadata=DIR``, ``missing="skip"``, …).

    Raises:
        UnknownNameError: No data set has this name (the message has the nearest ones).
        DatasetError: The root is missing, the split does not exist, or the data on disk is bad.
    """
    spec = DATASETS.get(name)
    if split not in get_args(Split):
        raise DatasetError(f"{name}: no split {split!r}; choose one of {', '.join(get_args(Split))}")
    return spec.load(check_root(spec, root), cast("Split", split), options)


def check_root(spec: DatasetSpec, root: str | Path | None) -> Path | None:
    """The absolute root, or None for a data set that needs none; ``DatasetError`` where it is missing."""
    if root is None:
        if spec.needs_root:
            raise DatasetError(f"{spec.name}: --root is needed: the folder that holds {spec.title}")
        return None
    return existing_root(spec.name, root)


def existing_root(name: str, root: str | Path) -> Path:
    """The absolute root of the data set ``name``; ``DatasetError`` where it is missing. Needs no adapter."""
    path = Path(root).expanduser()
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

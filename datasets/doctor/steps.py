"""The next steps to what a data set lacks on disk: which file, from where, and where it would lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..fetch.sources import HUB, SOURCES, SourceFile
from ..schema import SPLITS, DatasetSpec
from .reports import SplitReport


def lacking(spec: DatasetSpec, splits: Sequence[SplitReport]) -> set[str]:
    """What a data set lacks: splits, and of the test split ``boxes``, ``masks``, ``labels``; all where it is empty."""
    if not any(s.rows for s in splits):
        return {*SPLITS, "labels", *spec.metrics}
    short: set[str] = {s.split for s in splits if s.problems or (s.expected is not None and s.rows < s.expected)}
    for split in splits:
        if split.split == "test":
            found = {"boxes": split.boxes > 0, "masks": split.has_masks, "labels": split.rows > 0}
            short |= {truth for truth in (*spec.metrics, "labels") if not found.get(truth, True)}
    return short


def next_steps(spec: DatasetSpec, root: Path | None, short: set[str]) -> tuple[str, ...]:
    """How to get what is ``short``: file by file, and by the download where there is one for some of it."""
    folder = root.parent if root is not None and root.is_file() else root
    files = [s for s in SOURCES.get(spec.name, ()) if short.intersection(s.gives)]
    shards = [h for h in HUB.get(spec.name, ()) if short.intersection(h.gives)]
    steps = [_step(s, folder) for s in files]
    fetched = [s for s in files if s.url]
    if fetched or shards:
        everything = " --all" if any(s.optional for s in fetched) or any(h.optional for h in shards) else ""
        hub = f" ({'; '.join(h.step for h in shards)})" if shards else ""
        steps.append(f"or: cambench download {spec.name} --root {folder}{everything}{hub}")
    return tuple(steps)


def _step(source: SourceFile, folder: Path | None) -> str:
    """The step, and whether what it gives is there (maybe not all of it)."""
    if folder is None or not source.unpacks_to:
        return source.step
    bases = (folder, folder.parent)
    # The data set's own folder may be the root, and the archive's first folder is then the root itself.
    inner = source.unpacks_to.partition("/")[2] or source.unpacks_to
    places = [b / n for b in bases for n in (source.unpacks_to, inner, source.name, *source.elsewhere)]
    here = next((p for p in places if _exists(p)), None)
    return source.step if here is None else f"{source.step} ({here} is there; complete it if needed)"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that may not be entered
        return False

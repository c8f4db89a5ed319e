"""What all adapters share: options, cache, bulk checks. An adapter says only where things are and what they mean."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets as hf

from ..disk.archives import is_member
from ..findings import Findings, OptionError, some
from ..schema import DatasetError, SampleTable, Split, sample_features
from .cache import (
    Looked,
    Writer,
    cache_root,
    file_digest,
    inspect,
    key_of,
    listing_digest,
    read_back,
    shared_with_others,
    watch,
)
from .checks import RowChecks, check_names
from .given_sizes import SIZE_OPTION, sizes_file
from .ids import IdCheck
from .mask_files import MaskFiles
from .rows import Chunk, record_batch, update_digest
from .sizes import BoxSizes, Published

COMMON_OPTIONS = {
    **SIZE_OPTION,
    "missing": "error (default) or skip: what to do about listed images that are not on disk",
    "refresh": "true: build the table again even if it is cached",
}


@dataclass
class Built:
    """What an adapter read.

    ``chunks`` is consumed once. ``watched``: folders whose listing the rows depend on, complete once ``chunks`` is
    consumed. ``facts``: machine-readable (``variant``, ``num_classes_known`` …). ``published``: the published set of
    photographs of many sizes that this is; None for people's own images.
    """

    class_names: tuple[str, ...]
    chunks: Iterable[Chunk]
    findings: Findings
    facts: dict[str, Any] = field(default_factory=dict)
    watched: Callable[[], Iterable[Path]] = tuple
    has_boxes: bool = False
    has_masks: bool = False
    published: Published | None = None
    tools_sizes: bool = False
    """Sizes that are stated are what an annotation tool wrote (``BoxSizes``)."""


@dataclass(frozen=True)
class BuildPlan:
    """What an adapter will read; cheap to make. Keyed by contents: ``files``; by size and
    time: ``stamps`` (archives); by names, sizes and times of their files: ``folders``."""

    variant: str
    build: Callable[[], Built]
    files: tuple[Path, ...] = ()
    stamps: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Adapter:
    """A data set on disk. ``version`` changes whenever the same files would give other rows.

    ``counts``: published rows per split, where fewer are a subset that the user must be told of.
    """

    name: str
    version: int
    plan: Callable[[Path, Split, Mapping[str, Any]], BuildPlan]
    options: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def load(self, root: Path | None, split: Split, options: Mapping[str, Any]) -> SampleTable:
        """The split's table, from the cache where nothing changed; ``DatasetError`` where the data is bad."""
        assert root is not None
        chosen = self.check_options(options)
        try:
            return self._load(root, split, chosen)
        except OSError as error:
            # A folder that may not be read, a link loop, a file that went away between two looks.
            reason = f"{error.filename or root}: {error.strerror or error}"
            raise DatasetError(f"{self.name} {split} under {root}: {reason}") from error

    def _load(self, root: Path, split: Split, chosen: Mapping[str, Any]) -> SampleTable:
        plan = self.plan(root, split, chosen)
        entry = cache_root() / "datasets" / self.name / self._key(plan, root, split, chosen)
        found = Looked() if truth(chosen, "refresh") else inspect(entry)
        said = Findings()
        if found.rows is None:
            if found.why:
                said.warn(f"the cached table {found.why}; it was built again", entry)
            built, meta, writer = self.build(plan, split, chosen, entry)
            built.findings.raise_errors(f"{self.name} {split} under {root}")
            writer.commit(meta)
            found = read_back(entry)
        if found.rows is None:
            raise DatasetError(f"cache entry {entry} {found.why or 'is gone'}; is another process changing {root}?")
        if shared := shared_with_others(entry):
            said.warn(shared, fix="chmod -R go-w it, or set CAMBENCH_CACHE to a folder of your own")
        return self._table(split, found.rows, found.meta, said)

    def _table(self, split: Split, rows: hf.Dataset, meta: Mapping[str, Any], said: Findings) -> SampleTable:
        """The table of a cache entry; ``said``: findings of this opening, told now and no part of the data."""
        facts = {**meta["facts"], "findings": [*meta["facts"]["findings"], *map(vars, said.items)]}
        return SampleTable(
            name=self.name,
            split=split,
            rows=rows,
            class_names=tuple(meta["class_names"]),
            fingerprint=meta["fingerprint"],
            has_boxes=meta["has_boxes"],
            has_masks=meta["has_masks"],
            notes=tuple(meta["notes"]),
            facts=facts,
        )

    def build(
        self, plan: BuildPlan, split: Split, options: Mapping[str, Any], entry: Path
    ) -> tuple[Built, dict[str, Any], Writer]:
        """Read, check and write all rows into an uncommitted cache entry (aborted where there are errors)."""
        writer = Writer(entry)
        try:
            built = plan.build()
            digest = hashlib.sha256(f"{self.name}/{self.version}/{split}".encode())
            digest.update("\0".join(built.class_names).encode("utf-8", "surrogateescape"))
            check_names(built.class_names, built.findings)
            features = sample_features(list(built.class_names))
            for chunk in checked(built, options):
                update_digest(digest, chunk)
                if not built.findings.of("error"):
                    writer.write(record_batch(chunk, features))
            if built.facts.get("exif") == "apply":
                digest.update(b"exif=apply")
            if writer.rows == 0 and not built.findings.of("error"):
                lost = built.facts.get("missing_images", 0)
                why = f": all {lost:,} that it lists are missing" if lost else ""
                built.findings.error(f"the {split} split has no images{why}", fix="is --root the right folder?")
            elif writer.rows < self.counts.get(split, 0) and (split != "train" or options.get("train") != "minus_val"):
                built.findings.warn(f"a subset: {writer.rows:,} of {self.counts[split]:,} published images")
        except BaseException:
            writer.abort()
            raise
        if built.findings.of("error"):
            writer.abort()
        told = built.findings.of("warning", "note")
        meta = {
            "class_names": built.class_names,
            "fingerprint": digest.hexdigest(),
            "has_boxes": built.has_boxes,
            "has_masks": built.has_masks,
            "notes": [str(f) for f in told],
            "facts": {
                "variant": plan.variant,
                "num_classes_known": True,
                **built.facts,
                "findings": [vars(f) for f in told],
            },
            "watch": watch(built.watched()),
        }
        return built, meta, writer

    @property
    def all_options(self) -> dict[str, str]:
        """Names and meanings of the common options and the adapter's own."""
        return {**COMMON_OPTIONS, **self.options}

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options that are set; ``OptionError`` for an unknown one, with the nearest name."""
        known = self.all_options
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise OptionError(f"{self.name}: no option {name!r}; {hint}options: {', '.join(sorted(known))}")
        chosen = {k: v for k, v in options.items() if v is not None}
        if chosen.get("missing", "error") not in ("error", "skip"):
            raise OptionError(f"{self.name}: missing={chosen['missing']!r}; choose error or skip")
        return chosen

    def _key(self, plan: BuildPlan, root: Path, split: Split, options: Mapping[str, Any]) -> str:
        given = sizes_file(options)
        files = (*plan.files, given) if given is not None else plan.files
        return key_of(
            {
                "adapter": [self.name, self.version],
                "root": str(root),
                "split": split,
                "variant": plan.variant,
                "options": {k: str(v) for k, v in options.items() if k != "refresh"},
                "files": [[str(f), file_digest(f)] for f in files],
                "stamps": [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in plan.stamps],
                "folders": [[str(f), listing_digest(f)] for f in plan.folders],
            }
        )


def checked(built: Built, options: Mapping[str, Any]) -> Iterator[Chunk]:
    """The chunks after the checks that hold for every data set; missing images are left out or made an error."""
    ids, rows = IdCheck(built.findings), RowChecks(len(built.class_names), built.findings)
    sizes = BoxSizes(options, built.findings, built.published, tools=built.tools_sizes)
    masks = MaskFiles(built.facts, built.findings)
    missing: list[str] = []
    for chunk in built.chunks:
        ids.add(chunk.ids)
        sizes.settle(chunk)
        rows.add(chunk)
        present, gone = rows.split_missing(chunk)
        missing += gone
        masks.add(present)
        yield present if len(present) < len(chunk) else chunk
    ids.close()
    rows.close()
    masks.close()
    sizes.close()
    watched, damaged = built.watched, [Path(p) for p in rows.damaged if not is_member(p)]
    built.watched = lambda: [*watched(), *damaged]
    if missing:
        report_missing(built, missing, ids.total, skip=options.get("missing") == "skip")


def report_missing(built: Built, missing: list[str], total: int, *, skip: bool) -> None:
    """Missing images: an error, or a note and a fact where the user chose to go on without them."""
    built.facts["missing_images"] = len(missing)
    what = f"{len(missing):,} of {total:,} listed images are not on disk: {some(missing)}"
    if len(missing) == total and "images" in built.facts:
        what += f"; looked for as {built.facts['images']}"
    if where := built.facts.get("elsewhere"):
        what += f"; {where}"
    if skip:
        built.findings.warn(f"{what} (left out: missing=skip)", count=len(missing))
    else:
        fix = "complete the data set, or pass missing=skip to go on without them (another data set then)"
        built.findings.error(what, fix=fix, count=len(missing))


def truth(options: Mapping[str, Any], name: str) -> bool:
    """An option as a truth value: also the words of a command line."""
    value = options.get(name, False)
    return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "yes", "on")

"""The one schema of samples and batches, and the contract of a data-set adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..registry import Registry

if TYPE_CHECKING:
    # A wrong name or root is answered before torch and Arrow are imported.
    import datasets as hf
    import numpy as np
    import numpy.typing as npt
    import torch

    from ..opener import Exif

    class DecodedImages(Protocol):
        """Where images of a split are kept once they are decoded (``batches.decoded_cache``)."""

        frame: tuple[int, int | None]
        """Side R in pixels, and the side of which it is the centre, if it is a crop."""

        def get(self, row: int, stamp: bytes) -> tuple[npt.NDArray[np.uint8], tuple[int, int]] | None:
            """Pixels of a row and its picture's width and height, if they are those of the picture with the stamp."""

        def put(self, row: int, stamp: bytes, pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> None:
            """Keep them."""


Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class DatasetError(ValueError):
    """Bad data on disk: says what was wrong, where (file, line, image id) and what to do.

    ``findings``: everything that was found before the adapter gave up, for the doctor (``findings.Finding``).
    """

    def __init__(self, message: str, *, findings: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


class MissingSplitError(DatasetError):
    """The data set as it lies here has no such split; that alone is no defect."""


def sample_features(class_names: list[str]) -> hf.Features:
    """Arrow schema of a sample.

    ``image``: path, or bytes, or archive member; ``boxes``: (K,4) float x0,y0,x1,y1 in pixels of the
    ``width`` × ``height`` original, as published; ``masks``: one PNG an instance (non-zero = object);
    ``ignore``: PNG of pixels that never count; ``evidence``: PNG of the parts that tell the class (synthbirds only).
    """
    import datasets as hf

    picture = hf.Image(decode=False)
    return hf.Features(
        {
            "image_id": hf.Value("string"),
            "image": picture,
            "label": hf.ClassLabel(names=class_names),
            "width": hf.Value("int32"),
            "height": hf.Value("int32"),
            "boxes": hf.List(hf.List(hf.Value("float64"), length=4)),
            "masks": hf.List(picture),
            "ignore": picture,
            "evidence": picture,
        }
    )


@dataclass(frozen=True)
class SampleTable:
    """A verified, memory-mapped split: ``rows`` follows ``sample_features``.

    Attributes:
        name: Data-set name.
        split: ``train``, ``val`` or ``test``.
        rows: The samples.
        class_names: Names by label.
        fingerprint: SHA-256 hex over everything that can change a number (annotations, ids, seed, library versions
            where they change pixels).
        has_boxes: Whether box metrics can be computed.
        has_masks: Whether mask metrics can be computed.
        has_evidence: Whether the metrics of the parts that tell the class can be computed.
        notes: What a user should be told (counts that differ, boxes outside images …).
        facts: The same and more for machines: ``findings``, ``variant``, ``num_classes_known``, ``exif`` ….
        decoded: Where decoded images are kept between runs; None: they are decoded each time.
    """

    name: str
    split: Split
    rows: hf.Dataset
    class_names: tuple[str, ...]
    fingerprint: str
    has_boxes: bool = False
    has_masks: bool = False
    has_evidence: bool = False
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    decoded: DecodedImages | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def labelled(self) -> bool:
        """The pictures have labels; without, every label is -1."""
        return self.facts.get("label_space") != "none"

    @property
    def class_rows(self) -> bool:
        """Some images have several rows, one for each of their classes."""
        return bool(self.facts.get("class_rows", False))

    @property
    def exif(self) -> Exif:
        """What is done with the pictures' EXIF orientation: ``apply`` only where the user's option says so."""
        return "apply" if self.facts.get("exif") == "apply" else "ignore"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the data (images left out, a subset, boxes outside their image), without the fixes."""
        found = self.facts.get("findings", ())
        return tuple(f"{f['where']}: {f['what']}".removeprefix(": ") for f in found if f["level"] == "warning")

    def head(self, limit: int | None) -> SampleTable:
        """The first ``limit`` rows (all for None); the fingerprint says so."""
        if limit is None or limit >= len(self.rows):
            return self
        return replace(self, rows=self.rows.select(range(limit)), fingerprint=f"{self.fingerprint}:{limit}")


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be decoded: excluded from every triple, named in ``run.json``."""

    image_id: str
    index: int
    reason: str


@dataclass
class Batch:
    """Decoded samples at the working size R, on the CPU until ``to``.

    Shapes: ``index`` (B,) int64 rows of the table; ``images`` (B,3,R,R) uint8; ``labels`` (B,) int64; ``gt_boxes``: B
    arrays (K,4) int64 in R-pixel coordinates (truncated by the rule); ``masks`` (B,R,R) uint8 in {0: background,
    1: object, 255: ignore} or None; ``evidence`` (B,R,R) bool or None. ``failures`` are not in the tensors.
    """

    image_ids: tuple[str, ...]
    index: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor
    gt_boxes: list[npt.NDArray[np.int64]]
    masks: torch.Tensor | None = None
    evidence: torch.Tensor | None = None
    failures: tuple[ImageFailure, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def head(self, count: int) -> Batch:
        """The first ``count`` images."""
        tensors = {name: value[:count] for name in ("masks", "evidence") if (value := getattr(self, name)) is not None}
        return replace(
            self,
            image_ids=self.image_ids[:count],
            index=self.index[:count],
            images=self.images[:count],
            labels=self.labels[:count],
            gt_boxes=self.gt_boxes[:count],
            **tensors,
        )


@dataclass(frozen=True)
class DatasetSpec:
    """A registered data set.

    ``load(root, split, options)`` returns the split's table; it raises ``DatasetError`` with what was expected where.
    ``counts``: published rows per split. ``metrics``: what it supports (``boxes``, ``masks``, ``evidence``).
    """

    name: str
    load: Callable[[Path | None, Split, Mapping[str, Any]], SampleTable]
    title: str
    source: str
    licence: str = ""
    citation: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    num_classes: int | None = None
    metrics: tuple[str, ...] = ()
    needs_root: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    """What ``--option key=value`` may set, and what it means."""
    own: bool = False
    """Anybody's images, of which the folder alone has a name."""

    def titled(self, root: Path | None) -> str:
        """The title of a data set that lies at ``root``: of one's own images, with the folder's name.

        Examples:
            >>> spec = DatasetSpec("mine", lambda *_: None, "your own images", "", own=True)
            >>> spec.titled(Path("data/photos"))
            'photos: your own images'
        """
        return f"{root.absolute().name}: {self.title}" if self.own and root is not None else self.title


DATASETS: Registry[DatasetSpec] = Registry("data set", "cambench.datasets", ("cambench.datasets.adapters",))


def register_dataset(spec: DatasetSpec) -> DatasetSpec:
    """Register a data set under ``spec.name``; RegistryError if the name is taken by another module."""
    return DATASETS.add(spec.name, spec, origin=spec.load.__module__)

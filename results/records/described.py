"""Models of what ``run.json`` describes: data set, networks, methods, heads, metrics, failed images."""

from __future__ import annotations

from typing import Any
from typing import Protocol as TypingProtocol

from pydantic import BaseModel, ConfigDict, Field

NO_NETWORK = "none"
"""``head_kind`` where no network stands behind the maps: nothing is predicted, and images are not masked."""


class RecordModel(BaseModel):
    """A part of ``run.json``: a key that no field has is an error."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class DatasetRecord(RecordModel):
    """The evaluated split."""

    name: str
    title: str = ""
    """Name in tables; ``name`` where empty."""
    split: str
    fingerprint: str
    """SHA-256 hex over everything of the data that can change a number."""
    rows: int = Field(ge=0, le=10**9)
    """Images of the split, failed ones included."""
    num_classes: int = Field(ge=1)
    class_names: list[str] = Field(default_factory=list)
    """By label; may be empty."""
    labelled: bool = True
    """Images have labels; without, every label is -1 and nothing is scored against it."""
    class_rows: bool = False
    """Some images have a row for each of their classes, so that no prediction is right for all of them."""
    has_boxes: bool = False
    has_masks: bool = False
    has_evidence: bool = False
    notes: list[str] = Field(default_factory=list)


class BranchRecord(RecordModel):
    """Parameters of one branch (``softmax`` or ``sigmoid``) of a backbone."""

    sha256: str
    """SHA-256 hex of the branch's parameters."""
    provenance: str
    """Where they come from: ``shipped``, ``trained in this run``, ``file …``, ``timm pretrained`` …"""
    training: dict[str, Any] | None = None
    """Training record (recipe, seed, epochs, loss, top-1), where the branch was trained by us."""


class BackboneRecord(RecordModel):
    """A network and its branches."""

    title: str = ""
    """Name in tables; the registered name where empty."""
    weights_sha256: str
    """SHA-256 hex of all parameters and buffers before the target layer."""
    weights_source: str = ""
    feature_layer: str = ""
    head_kind: str = "other"
    """``gap_linear``, ``mlp`` or ``other``; ``NO_NETWORK`` for maps made elsewhere that are scored alone."""
    num_classes: int = Field(ge=1)
    input_size: int | None = None
    """Side in pixels to which the network's images are resized; None: it takes those of the protocol's size."""
    parameters: int | None = None
    """Number of parameters of the network with its softmax branch."""
    through_network: bool = False
    """A pass of the head runs the network, as its head reads more than the feature map."""
    activation: str = "softmax"
    """How the network's own logits become scores: ``softmax``, or ``sigmoid`` (binary and multi-label networks)."""
    branches: dict[str, BranchRecord] = Field(default_factory=dict)


class CamRecord(RecordModel):
    """What a table and the run key need to know about a CAM method."""

    title: str = ""
    source: str = ""
    cost: str = ""
    """Forwards and backwards of one map alone, as a formula of N, P and Q (``baselines/cams/cost.py``)."""
    control: bool = False
    """A control (random, center, uniform): marked in tables."""
    finished: bool = False
    """Its maps are masks in [0, 1], scored as they are: no min-max."""
    code_sha256: str = ""
    """SHA-256 hex of the file of a third-party method; empty for built-in ones (``code_version`` covers them)."""


class HeadRecord(RecordModel):
    """What a table needs to know about a head."""

    title: str = ""
    branch: str = "softmax"
    clamp: bool = False


class MetricRecord(RecordModel):
    """A metric of the ``extra:`` columns: its record value per image is averaged in tables."""

    title: str = ""
    higher_is_better: bool = True
    unit: str = ""
    """``%`` multiplies the mean by 100."""
    digits: int = Field(default=2, ge=0, le=8)
    source: str = ""
    code_sha256: str = ""
    """SHA-256 hex of the file of a third-party metric; empty for built-in ones (``code_version`` covers them)."""


class Failure(RecordModel):
    """An image that could not be evaluated; excluded from every triple alike."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True, defer_build=True)

    image_id: str
    index: int
    """Row of the data set."""
    reason: str


class FailedImage(TypingProtocol):
    """What the store reads of an image that could not be evaluated (``datasets.schema.ImageFailure`` is one)."""

    @property
    def image_id(self) -> str:
        """Id of the image."""

    @property
    def index(self) -> int:
        """Row of the data set."""

    @property
    def reason(self) -> str:
        """Why, for people."""

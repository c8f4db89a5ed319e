"""Frozen, named, versioned choices that change a number. Every record carries the protocol's digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .registry import Registry

Kernel = Literal["bicubic", "bilinear"]


class MapRule(BaseModel):
    """How a method's weighted sum becomes a score map.

    ``relu``: negative values are dropped (paper Eq. 6). ``signed``: they are kept (wsolevaluation's plain CAM).
    ``low_res_min_max`` normalises once before the resize (the paper's code, pytorch-grad-cam).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    sign: Literal["relu", "signed"] = "relu"
    """Whether negative values are dropped before the resize."""
    kernel: Kernel = "bicubic"
    """Kernel of the resize to R×R."""
    low_res_min_max: bool = False
    """Min-max normalise before the resize as well as after it."""
    normalisation: str = Field(
        default="min_max",
        pattern=r"^(min_max|max|pas|ivr\(\d{1,2}(\.\d+)?\))$",
        examples=["min_max", "max", "pas", "ivr(P)"],
    )
    """How the resized map is brought to [0, 1] before thresholds and pixels are read: ``min_max``, ``max``, ``pas`` or
    ``ivr(p)`` with the percentile p in percent (Kim et al., ICCV 2021)."""


class Protocol(BaseModel):
    """Everything that changes a number and is not a triple, a data set or a weight.

    Units: ``size`` in pixels; ``loc_tau`` and thresholds are fractions of the map's range; IoU in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = 1
    target: Literal["predicted", "label"] = "predicted"
    """Class whose evidence is drawn and scored: the softmax branch's prediction, or the image's label."""
    map_rule: MapRule = MapRule()
    map_overrides: dict[str, MapRule] = Field(default_factory=dict)
    """Per CAM method, where a published code treats one method differently."""
    clamp_exempt: tuple[str, ...] = ()
    """CAM methods to which the head's clamp is not applied."""
    size: int = Field(default=224, ge=8, le=512)
    """Working size R of images, maps, boxes and masks."""
    crop_from: int | None = Field(default=None, ge=8, le=1024)
    """Side in pixels that images, boxes and masks are squashed to before their central R×R is taken; None: R×R itself.
    Boxes are clipped to the crop (Rethinking CAM: 256, then 224)."""
    image_resize: Literal["bilinear_antialias"] = "bilinear_antialias"
    """Kernel of the squash of an image to R×R (the one of Pillow and torchvision's PIL path)."""
    tau_grid: Literal["arange1000", "linspace1001"] = "arange1000"
    """Thresholds: 0, .001 … .999 (wsolevaluation) or 0 … 1 in 1001 steps (the paper's code)."""
    iou_thresholds: tuple[float, ...] = (0.3, 0.5, 0.7)
    """IoU thresholds δ of MaxBoxAccV2."""
    loc_iou: float = 0.5
    """IoU threshold of MaxBoxAcc, GT-known Loc and Top-1 Loc."""
    loc_threshold: Literal["fixed", "oracle", "val"] = "fixed"
    """Threshold of both Loc scores: fixed at ``loc_tau``, or the best one for GT-known Loc on the evaluated split
    (``oracle``) or on val. Top-1 Loc takes the same one, so that it speaks of the same boxes."""
    loc_tau: float = Field(default=0.2, ge=0, le=1)
    """The fixed threshold τ, a fraction of ``loc_reference``."""
    loc_reference: Literal["max", "percentile"] = "max"
    """What every box threshold τ is a fraction of: the map's highest level, or a percentile of its levels."""
    loc_percentile: float = Field(default=90, gt=0, le=100)
    """That percentile, in percent: above 0, at most 100."""
    no_contour: Literal["zero", "whole"] = "zero"
    """Box where nothing is above the threshold: [0, 0, 0, 0] (wsolevaluation), or the whole map (Rethinking CAM)."""
    gt_boxes: Literal["any", "first"] = "any"
    """Ground-truth boxes that count for the Loc scores."""
    fidelity_score: Literal["softmax", "sigmoid", "logit"] = "softmax"
    """Class score Y and O: softmax branch's probability, sigmoid branch's score, or softmax branch's raw logit."""
    fidelity_space: Literal["pixels", "normalised"] = "pixels"
    """Where the map multiplies: pixels in [0, 1] (masked out = black), or the normalised tensor (= mean colour)."""
    fidelity_kernel: Kernel = "bilinear"
    """Kernel that upsamples the map to the mask of the image."""
    fidelity_min_max: Literal["low_res", "full_res"] = "low_res"
    """Where the mask is min-max normalised: before the upsampling (torch-cam; the paper is silent), or after it."""
    pointing_tolerance: float = Field(default=15, ge=0)
    """Radius in pixels around the ground truth that still counts in the pointing game (as published)."""
    curve_steps: int = Field(default=224, ge=1)
    """Steps of an insertion or deletion curve (RISE: one for each row of pixels)."""
    insertion_blur_width: int = Field(default=11, ge=1)
    """Width in pixels of the Gaussian's kernel."""
    insertion_blur_sigma: float = Field(default=5.0, gt=0)
    """Gaussian, in pixels, whose blurred image insertion starts from (RISE)."""
    road_percents: tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    """Shares of the pixels, in percent, that ROAD removes."""
    road_noise: float = Field(default=0.01, ge=0)
    """Standard deviation of the noise on what ROAD imputes, in pixel values of [0, 1]."""
    subset_cell: int = Field(default=16, ge=1)
    """Side in pixels of the squares whose random subsets sensitivity-n blackens."""
    subset_percents: tuple[float, ...] = (10, 30, 50)
    """Sizes n of the subsets, in percent of the squares."""
    subset_count: int = Field(default=30, ge=3)
    """Random subsets of each size."""
    cascade_steps: int = Field(default=4, ge=1)
    """Steps of the cascading weight randomisation, from the classifier down; after the last one no layer is trained."""
    map_dtype: Literal["float64"] = "float64"
    """Resize, min-max and quantisation run in this dtype (float32 flips levels)."""
    score_channels: int | None = Field(default=None, ge=1)
    """Channels that Score-CAM, IS-CAM, SS-CAM and Ablation-CAM's brute force score, those of largest mean activation;
    the others weigh nothing. None: all of them, as published; a number is an approximation."""

    @model_validator(mode="after")
    def _check(self) -> Protocol:
        if not self.iou_thresholds or any(not 0 < t <= 1 for t in self.iou_thresholds):
            raise ValueError(f"iou_thresholds must be fractions in (0, 1], got {self.iou_thresholds}")
        if self.crop_from is not None and (self.crop_from < self.size or (self.crop_from - self.size) % 2):
            raise ValueError(
                f"crop_from {self.crop_from} must be size {self.size} or larger by an even number, so that the "
                "crop has a centre"
            )
        for field in ("road_percents", "subset_percents"):
            values = getattr(self, field)
            if not values or any(not 0 < v < 100 for v in values):
                raise ValueError(f"{field} must lie between 0 and 100, both excluded, got {values}")
        return self

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the fields, as canonical JSON.

        The name, unset fields, and fields added later that have the value of what was done before them do not enter.
        """
        fields = _without_later(self.model_dump(mode="json", exclude={"name"}, exclude_none=True))
        return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]

    def with_channels(self, count: int | None) -> Protocol:
        """The protocol that scores ``count`` channels, under a name that says so; itself for None."""
        if count is None:
            return self
        fields = {**self.model_dump(), "name": f"{self.name}+top{count}", "score_channels": count}
        return Protocol(**fields)

    def of_labels(self) -> Protocol:
        """The protocol that draws the map of each image's label, under a name that says so; itself where it does."""
        if self.target == "label":
            return self
        return Protocol(**{**self.model_dump(), "name": f"{self.name}+label", "target": "label"})

    def rule_for(self, cam: str) -> MapRule:
        """The map rule of one CAM method."""
        return self.map_overrides.get(cam, self.map_rule)

    def differences(self, other: Protocol) -> dict[str, tuple[Any, Any]]:
        """Fields (name aside) in which two protocols differ: field -> (ours, theirs)."""
        ours, theirs = self.model_dump(exclude={"name"}), other.model_dump(exclude={"name"})
        return {k: (ours[k], theirs[k]) for k in ours if ours[k] != theirs[k]}


LATER: dict[str, Any] = {
    "normalisation": "min_max",
    "loc_reference": "max",
    "loc_percentile": 90.0,
    "no_contour": "zero",
    "road_percents": [10, 20, 30, 40, 50, 60, 70, 80, 90],
    "road_noise": 0.01,
    "subset_cell": 16,
    "subset_percents": [10, 30, 50],
    "subset_count": 30,
    "cascade_steps": 4,
}
"""Fields that came after the first release -> the value that stands for what was done before."""


def _without_later(fields: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if name not in LATER or value != LATER[name]}
    return {name: _without_later(value) if isinstance(value, dict) else value for name, value in kept.items()}


PROTOCOLS: Registry[Protocol] = Registry("protocol", "cambench.protocols")

PAPER = PROTOCOLS.add("paper", Protocol(name="paper"))
"""The paper's text (predicted class, ReLU map, masked pixels, softmax score), wsolevaluation's box and pixel rules."""

BEYOND_SOFTMAX_CODE = PROTOCOLS.add(
    "beyond-softmax-code",
    Protocol(
        name="beyond-softmax-code",
        target="label",
        map_rule=MapRule(sign="relu", kernel="bilinear", low_res_min_max=True),
        map_overrides={"cam": MapRule(sign="signed", kernel="bicubic")},
        clamp_exempt=("layercam",),
        tau_grid="linspace1001",
        gt_boxes="first",
    ),
)
"""The quirks of the code that the paper's authors published; its fidelity fields are the paper's."""

WSOLEVAL = PROTOCOLS.add(
    "wsoleval",
    Protocol(
        name="wsoleval", target="label", map_rule=MapRule(sign="signed", kernel="bicubic"), loc_threshold="oracle"
    ),
)
"""clovaai/wsolevaluation (Choe et al., CVPR 2020): label's map, signed, oracle threshold."""

TORCHCAM = PROTOCOLS.add(
    "torchcam",
    Protocol(
        name="torchcam",
        map_rule=MapRule(sign="relu", kernel="bilinear", low_res_min_max=True),
        fidelity_score="logit",
        fidelity_space="normalised",
    ),
)
"""torch-cam's ClassificationMetric defaults: raw logits, masked normalised tensor."""

IVR = PROTOCOLS.add(
    "ivr",
    Protocol(
        name="ivr",
        target="label",
        map_rule=MapRule(sign="signed", kernel="bicubic", normalisation="ivr(45)"),
        loc_threshold="oracle",
    ),
)
"""wsolevaluation's rules after IVR's normalisation (Kim et al., ICCV 2021), p = 45 %."""

RETHINKING_CAM = PROTOCOLS.add(
    "rethinking-cam",
    Protocol(
        name="rethinking-cam",
        target="label",
        map_rule=MapRule(sign="signed", kernel="bicubic"),
        crop_from=256,
        gt_boxes="first",
        loc_tau=0.35,
        loc_reference="percentile",
        no_contour="whole",
    ),
)
"""Rules of Rethinking CAM's code (Bae et al., ECCV 2020): the central 224×224 of 256×256, τ = .35 of the 90th
percentile, the whole image where nothing is above it, the first box. Its weight clamping is the head
``softmax_clamped``; its pooling is the network's, ``NAME+tap``. Its boxes of maps end one pixel outside the map where
they touch its edge, ours are clipped; on CUB it takes a pixel off the published widths and heights."""

"""What ``cambench search`` is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..host.options import CacheOptions, DataOptions, DeviceOptions, Flag, ProtocolOptions, SplitName
from ..training.request import RecipeOptions

JudgedBy = Literal["auto", "max_box_acc_v2", "max_box_acc", "gt_known_loc", "top1_loc", "pxap"]


def _ends(value: Any) -> Any:
    """Two numbers from ``LOW,HIGH``."""
    if not isinstance(value, str):
        return value
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        raise ValueError(f"{value!r}: expected LOW,HIGH, such as 1e-5,1e-1") from None
    return low, high


Ends = Annotated[tuple[float, float], BeforeValidator(_ends), Flag(joined=True, metavar="LOW,HIGH")]


class SearchRequest(RecipeOptions, ProtocolOptions, CacheOptions, DeviceOptions, DataOptions):
    """``cambench search``: a training whose learning rate and method parameters are drawn."""

    split: SplitName = Field("val", description="Split by which trials are judged: val; never the one reported.")
    protocol: str = Field("wsoleval", description="Protocol of the judgement: see 'cambench ls protocols'.")
    metric: JudgedBy = Field(
        "auto", description="What the trials are ranked by; auto: max_box_acc_v2, or pxap where there are no boxes."
    )
    out: Path = Field(description="Folder of the search; an unfinished search continues, a longer one goes on.")
    trials: int = Field(30, ge=1, description="Trials in all; a later call may ask for more.")
    seed: int = Field(0, ge=0, description="Seed of the draws, of the proxy set and of every training.")
    lr: Ends = Field((1e-5, 1.0), description="Learning rates, drawn evenly in their logarithm.")
    proxy: float = Field(
        1.0, gt=0, le=1, description="Share of each class's training images that trials see (ImageNet: 0.1)."
    )
    weights: Path | None = Field(None, description="File of weights that every trial starts from.")
    limit: int | None = Field(None, ge=1, description="Only the first N images of both splits (a smoke run).")
    batch_size: int = Field(32, ge=1, description="Images in a batch of the judgement.")
    workers: int = Field(2, ge=1, description="Decoding threads.")

    @model_validator(mode="after")
    def _rates_rise(self) -> SearchRequest:
        if not 0 < self.lr[0] < self.lr[1]:
            raise ValueError(f"lr {self.lr[0]:g},{self.lr[1]:g}: expected two rates above 0, the lower one first")
        if self.split == "train":
            raise ValueError("split train: trials are trained on it; judge them by val")
        return self

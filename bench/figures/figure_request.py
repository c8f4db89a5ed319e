"""What the figures of data and maps are asked for; nothing that loads torch is imported to read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field

from ...protocol import PROTOCOLS, Protocol
from ..engine.planning.config import RunConfig
from ..host.dtypes import Dtype
from ..host.options import (
    HIDDEN,
    DataOptions,
    DeviceOptions,
    Flag,
    Options,
    Patterns,
    PluginOptions,
    ProtocolOptions,
    WeightsOptions,
)

if TYPE_CHECKING:
    import torch

    from ...baselines.contracts import Backbone
    from ..engine.scoring.reading import Reading


class PictureOptions(Options):
    """Where a picture goes."""

    out: Path = Field(description="FILE.png, .pdf or .svg; a name without ending gives all three.")
    dpi: int = Field(150, ge=20, le=600, description="Pixels in an inch of a PNG.")
    style: Literal["paper", "screen"] = Field(
        "paper", description="paper (serif, small) or screen (large type, thicker lines)."
    )


class SheetRequest(PictureOptions, PluginOptions, DataOptions):
    """A contact sheet of a data set."""

    dataset: str = Field("synthbirds", description="Data set: see 'cambench ls datasets'.")
    rows: int = Field(3, ge=1, le=50, description="Samples of each class.")


class FigureRequest(PluginOptions, DeviceOptions, ProtocolOptions, WeightsOptions, DataOptions):
    """Which images of which data, and where the trained branches of the networks come from."""

    dataset: str = Field("synthbirds", description="Data set: see 'cambench ls datasets'.")
    image: tuple[str, ...] = Field(
        (), description="Id of an image, or the end of one (repeatable); else images are drawn by --seed."
    )
    count: Annotated[int, HIDDEN] = Field(4, ge=1, description="Images, where none is named.")
    seed: int = Field(0, ge=0, description="Draws the images, where no --image is given.")
    run: Path | None = Field(
        None, description="Run folder whose trained heads are used; else missing heads are trained, not kept."
    )
    workers: Annotated[int, HIDDEN] = Field(2, ge=1, description="Decoding threads.")

    def config(self, triples: Sequence[str], out: Path) -> RunConfig:
        """The same request as the configuration of a run into ``out``."""
        same = self.part(DataOptions, WeightsOptions, DeviceOptions, ProtocolOptions)
        return RunConfig.create(**same, triples=tuple(triples), out=out)

    @property
    def where(self) -> torch.device:
        """The device that the request names; the CPU where that one lacks the float64 that figures are drawn from."""
        import torch

        from ...float64 import has_float64
        from ..host.device import pick_device

        device = torch.device(pick_device(self.device))
        return device if has_float64(device) else torch.device("cpu")

    @property
    def rules(self) -> Protocol:
        """The named protocol; with the channels of the run, where the run has the same one apart from those."""
        from ...results.records.run_folder import read_manifest

        named = PROTOCOLS.get(self.protocol)
        theirs = read_manifest(self.run).protocol if self.run is not None else named
        return theirs if theirs.differences(named).keys() <= {"score_channels"} else named

    def reading(self, network: Backbone) -> Reading:
        """How the maps of a network are read: under ``rules``, in the precision of the run where there is one."""
        from ...results.records.run_folder import read_manifest
        from ..engine.scoring.reading import Reading

        options = read_manifest(self.run).options if self.run is not None else {}
        dtype, last = options.get("dtype", "float32"), bool(options.get("channels_last", False))
        return Reading(network, self.rules, dtype=cast(Dtype, dtype), channels_last=last)


class MapsRequest(PictureOptions, FigureRequest):
    """Figure 3 of the paper: which triples on which images."""

    count: Annotated[int, Flag(("--rows",))] = Field(4, ge=1, le=50, description="Images, where no --image is given.")
    triples: Patterns = Field(description="Patterns backbone/cam/head, such as 'slim_resnet/{gradcam,layercam}/*'.")
    tau: float | None = Field(None, ge=0, le=1, description="Threshold of the predicted box. (default: the protocol's)")

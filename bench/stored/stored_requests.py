"""The requests for what is made of stored maps; read before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..host.options import FilePairs, Flag, Options, PaceOptions, Patterns, PluginOptions, ProtocolOptions

RunFolder = Annotated[Path, Flag(argument=True, metavar="RUN")]


class ExportMapsRequest(Options):
    """Which maps, and where to."""

    run: RunFolder = Field(description="Folder of a run that stored its maps.")
    out: Annotated[Path, Flag(argument=True, metavar="OUT")] = Field(description="Folder of the files.")
    triples: Patterns = Field((), description="Patterns of triples; may be repeated. (default: all of the run)")
    format: Literal["npy", "png"] = Field(
        "npy", description="npy: the values as they are stored; png: min-max normalised to 16 bits of grey."
    )


class RescoreRequest(PluginOptions, PaceOptions, ProtocolOptions):
    """Which run, under which protocol, where to."""

    run: RunFolder = Field(description="Folder of a run that stored its maps.")
    out: Path = Field(description="Folder of the new records.")
    triples: Patterns = Field((), description="Patterns of triples; may be repeated. (default: all of the run)")
    root: Path | None = Field(None, description="Folder of the data set. (default: where the run found it)")
    maps: Annotated[FilePairs, Flag(metavar="NAME=DIR")] = Field(
        default_factory=dict,
        description="Maps made elsewhere, NAME=DIR, where they are now; may be repeated. (default: where the run found "
        "them)",
    )

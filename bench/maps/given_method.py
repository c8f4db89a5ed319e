"""Maps made elsewhere as a CAM method of the run: registered under the name that they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...baselines.cams import CAMS, CamMethod, Evidence
from ...home import expanded
from . import MAPS
from .map_folder import MapFolder, open_folder


def register_maps(maps: Mapping[str, Path], image_ids: Sequence[str]) -> list[MapFolder]:
    """Register a method for every folder of maps; a later run of the process may give the same name other maps.

    Raises:
        UsageError: A folder that cannot be used (``open_folder``).
        RegistryError: The name is a method's already, or holds other characters than names may.
    """
    folders = [open_folder(name, expanded(folder), image_ids) for name, folder in maps.items()]
    for folder in folders:
        CAMS.add(folder.name, _method(folder), origin=__name__)
    return folders


def folder_of(method: CamMethod) -> MapFolder | None:
    """The folder of maps that a method stands for; None for one that draws its maps."""
    found = method.extra.get(MAPS)
    return found if isinstance(found, MapFolder) else None


def _method(folder: MapFolder) -> CamMethod:
    def given(evidence: Evidence) -> Tensor:
        maps = folder.read(evidence.image_ids)
        if folder.shape is None:
            raise ValueError(f"the maps of {folder.name} have several sizes, which this figure cannot show together")
        return torch.stack([torch.from_numpy(m) for m in maps]).to(evidence.features.device)

    return CamMethod(
        folder.name,
        given,
        folder.name,
        f"maps made elsewhere, {len(folder.files)} files",
        needs=frozenset(),
        returns="map",
        headless=True,
        named=True,
        extra={MAPS: folder},
    )

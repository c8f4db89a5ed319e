"""Maps made elsewhere as a CAM method of the run: registered under the name that they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...baselines.cams import CAMS, CamMethod, Evidence
from ...datasets.schema import SampleTable
from ...datasets.tables import picture_sizes
from ...home import expanded
from . import MAPS
from .map_folder import MapFolder, open_folder


def register_maps(maps: Mapping[str, Path], table: SampleTable) -> list[MapFolder]:
    """Register a method for every folder of maps; a later run of the process may give the same name other maps.

    Raises:
        UsageError: A folder that cannot be used (``open_folder``).
        RegistryError: The name is a method's already, or holds other characters than names may.
    """
    folders = open_folders(maps, table)
    for folder in folders:
        CAMS.add(folder.name, _method(folder), origin=__name__)
    return folders


def open_folders(maps: Mapping[str, Path], table: SampleTable) -> list[MapFolder]:
    """The folders of maps of a split's images; see ``open_folder``."""
    image_ids = table.rows["image_id"][:] if maps else []
    places = {image_id: row for row, image_id in enumerate(image_ids)}

    def sizes_of(chosen: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        return dict(zip(chosen, picture_sizes(table, [places[i] for i in chosen]), strict=True))

    return [open_folder(name, expanded(folder), image_ids, sizes_of) for name, folder in maps.items()]


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

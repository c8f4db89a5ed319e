"""`wsol`: any folder of images that wsolevaluation's metadata describes (SEMANTICS §7)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...home import expanded
from ..formats.wsol.wsol_columns import IDS
from ..formats.wsol.wsol_metadata import LABELS, PLACES, SIZES
from ..formats.wsol.wsol_reader import build, find_metadata
from ..schema import DatasetError, DatasetSpec, Split, register_dataset
from ..tables.build import Adapter, BuildPlan

OPTIONS = {
    "metadata": "folder with train/, val/, test/, each of image_ids.txt, class_labels.txt … (default: ROOT/metadata)",
    "mask_root": "folder that the mask paths start from (default: where the images were found)",
    "num_classes": "number of classes (default: known for ILSVRC, CUB, CARS, OpenImages; else the largest label + 1)",
    "class_names": "text file with one class name per line, in label order",
}


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Find the split's metadata folder; ``DatasetError`` says what was expected where."""
    folder = find_metadata(root, split, options.get("metadata"))
    names = options.get("class_names")
    files = [folder / n for n in (IDS, LABELS, SIZES, PLACES) if (folder / n).is_file()]
    if names is not None:
        files.append(expanded(names))
        if not files[-1].is_file():
            raise DatasetError(f"wsol: class_names={names}: no such file; expected one class name per line")
    return BuildPlan("wsol metadata", lambda: build(root, folder, split, options), tuple(files))


ADAPTER = Adapter("wsol", 2, plan, OPTIONS)
SPEC = register_dataset(
    DatasetSpec(
        name="wsol",
        load=ADAPTER.load,
        title="any images with wsolevaluation metadata",
        source="Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020",
        licence="the images' own",
        citation="choe2020evaluating",
        options=ADAPTER.all_options,
        metrics=("boxes", "masks"),
    )
)

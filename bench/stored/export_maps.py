"""Stored score maps as files that ``--maps``, wsolevaluation and other tools read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from ...atomic import remove_leftovers_under
from ...results.records.columns import MAP, Array
from ...triple import Triple, file_name
from ..host.errors import RunError, UsageError
from ..maps.map_files import Format, write_map
from .stored_maps import open_stored
from .stored_requests import ExportMapsRequest


def export_maps(request: ExportMapsRequest, say: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Write ``OUT/<backbone>/<cam>/<head>/<image id>.npy`` for every image; returns the folder of each triple.

    The values are those of the records: low-resolution maps after the protocol's sign rule, before any normalisation.
    Given back with ``--maps NAME=OUT/<backbone>/<cam>/<head>`` they have the scores of the run. Maps equal by algebra
    are written once for each triple.

    Raises:
        RecordError, UsageError, RunError: As ``open_stored``; an image id that leads out of the folder.
    """
    run, triples, without = open_stored(request.run, request.triples)
    if request.out.exists() and not request.out.is_dir():
        raise UsageError(f"{request.out}: a file is there; give the name of a folder")
    for triple in without:
        say(f"{triple}: its maps are not stored; left out")
    folders = []
    for triple in triples:
        folder = request.out.joinpath(*map(file_name, triple.names))
        about = run.manifest.cams.get(triple.cam)
        if about is not None and about.finished:
            say(
                f"{triple}: its maps are masks, which a run takes as they are; given with --maps they are normalised "
                "as all maps are"
            )
        remove_leftovers_under(folder)
        _write(run.batches(triple, ["image_id", MAP]), folder, triple, request.format)
        folders.append(folder)
    return folders


def _write(batches: Iterable[Mapping[str, Array]], folder: Path, triple: Triple, form: Format) -> None:
    for batch in batches:
        for image_id, values in zip(batch["image_id"].tolist(), batch[MAP], strict=True):
            parts = PurePosixPath(image_id).parts
            if PurePosixPath(image_id).is_absolute() or ".." in parts or "\0" in image_id:
                raise RunError(f"{triple}: the image {image_id!r} has a name that leads out of the folder")
            write_map(folder.joinpath(*parts[:-1], f"{parts[-1]}.{form}"), values, form)

"""``cambench report``: the HTML page of a run, with pictures where the data set can be opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..host.errors import UsageError
from .options import Metadata, Options, dataset_options, load_plugins

if TYPE_CHECKING:
    from ...datasets.schema import SampleTable
    from ...results.records.manifest import RunManifest
    from ...results.report import Picture, Pictures

out = Console(highlight=False)
BATCH = 16


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="OUT")],
    output: Annotated[Path | None, typer.Option("--out", help="HTML file. (default: OUT/report.html)")] = None,
    samples: Annotated[int, typer.Option(help="Images in the explorer.", min=1, max=500)] = 48,
    thumb: Annotated[int, typer.Option(help="Largest side of a thumbnail, pixels.", min=32, max=512)] = 224,
    root: Annotated[Path | None, typer.Option(help="Folder of the data set, as in 'run'.")] = None,
    metadata: Metadata = None,
    option: Options = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Show the images themselves.")] = True,
    val: Annotated[Path | None, typer.Option(help="Run of the val split, for protocols that choose τ there.")] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the intervals.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    plugin: Annotated[list[Path] | None, typer.Option(help="Python file that registers the run's data set.")] = None,
) -> None:
    """Write one self-contained HTML page: leaderboard, cost, curves, and an explorer of images and maps.

    The explorer redraws boxes from the maps that the run stored; its images come from the data set.

    Examples:

        cambench run --dataset synthbirds --triples 'slim_resnet/*/*' --out runs/first

        cambench report runs/first
    """
    from ...results.records.load import load_run
    from ...results.report import write_report
    from ...text import visible

    load_plugins(plugin)
    loaded = load_run(run)
    source, absent = None, "The report was made with --no-pictures."
    if pictures:
        source, absent = find_pictures(loaded.manifest, root, dataset_options(option, metadata))
    target = write_report(
        loaded,
        output or run / "report.html",
        pictures=source,
        absent=absent,
        samples=samples,
        thumb=thumb,
        val=None if val is None else load_run(val),
        resamples=resamples,
        seed=seed,
    )
    if pictures and source is None:
        out.print(f"no pictures: {absent}", soft_wrap=True, markup=False, style="yellow")
    out.print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)", soft_wrap=True, markup=False)
    for problem in loaded.problems:
        out.print(f"problem: {visible(problem)}", soft_wrap=True, markup=False, style="yellow")


def find_pictures(manifest: RunManifest, root: Path | None, options: Mapping[str, Any]) -> tuple[Pictures | None, str]:
    """The pictures of a run's data set; or None and why there are none.

    Raises:
        DatasetError: A root or options were given, and the data set cannot be opened with them.
        UsageError: They were given, and the data on disk are not those of the run.
    """
    from ...datasets.open import open_table
    from ...datasets.schema import DatasetError
    from ...registry import UnknownNameError

    data, asked = manifest.dataset, root is not None or bool(options)
    try:
        table = open_table(data.name, root, data.split, **options)
    except (DatasetError, UnknownNameError) as error:
        if asked:
            raise
        return None, f"The data set could not be opened ({error}); give --root as in the run."
    # A run with --limit N has the fingerprint "<of the data>:N".
    whole, _, limit = data.fingerprint.partition(":")
    if limit.isdigit():
        table = table.head(int(limit))
    if table.fingerprint.partition(":")[0] != whole:
        why = f"the {data.name} {data.split} data on disk are not those of the run (another fingerprint)"
        if asked:
            raise UsageError(f"{why}; give the --root and options of the run")
        return None, f"No pictures: {why}."
    return _reader(table, manifest.protocol.size), ""


def _reader(table: SampleTable, size: int) -> Pictures:
    from ...datasets.batches import load_batches
    from ...results.report import Picture

    def read(rows: Sequence[int]) -> Mapping[int, Picture]:
        found: dict[int, Picture] = {}
        for batch in load_batches(table, list(rows), size, BATCH, 2, masks=False):
            images = batch.images.permute(0, 2, 3, 1).numpy()
            for i, row in enumerate(batch.index.tolist()):
                found[row] = Picture(images[i], batch.gt_boxes[i])
        return found

    return read

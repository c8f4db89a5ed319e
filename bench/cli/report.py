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
    runs: Annotated[list[Path], typer.Argument(help="Folders of one or more runs.", metavar="OUT…")],
    output: Annotated[
        Path | None, typer.Option("--out", help="HTML file. (default: OUT/report.html; report.html for several runs)")
    ] = None,
    samples: Annotated[int, typer.Option(help="Images in the explorer of each data set.", min=1, max=500)] = 48,
    thumb: Annotated[int, typer.Option(help="Largest side of a thumbnail, pixels.", min=32, max=512)] = 224,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data set, as in 'run'. (default: where the run found it)")
    ] = None,
    metadata: Metadata = None,
    option: Options = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Show the images themselves.")] = True,
    val: Annotated[
        list[Path] | None,
        typer.Option(help="Run of the val split, for protocols that choose τ there; once a data set."),
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the intervals.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    plugin: Annotated[list[Path] | None, typer.Option(help="Python file that registers the run's data set.")] = None,
) -> None:
    """Write one self-contained HTML page: the answer, leaderboard, cost, who beats whom, curves, images and maps.

    Runs of the same data and protocol share a table; others have tables of their own on the same page. The explorer
    redraws boxes from the maps that the run stored; its images come from the data set.

    Examples:

        cambench run --dataset synthbirds --triples 'slim_resnet/*/*' --out runs/first

        cambench report runs/first

        cambench report runs/birds runs/imagenet --out both.html
    """
    from ...results.records.load import load_run
    from ...results.report import Source, write_report
    from ...text import visible

    load_plugins(plugin)
    sources = []
    for run in runs:
        loaded = load_run(run)
        source, absent = None, "The report was made with --no-pictures."
        if pictures:
            source, absent = find_pictures(loaded.manifest, root, dataset_options(option, metadata))
        sources.append(Source(loaded, source, absent))
    target = write_report(
        sources,
        output or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html")),
        samples=samples,
        thumb=thumb,
        vals=[load_run(one) for one in val or ()],
        resamples=resamples,
        seed=seed,
    )
    for one in sources:
        if pictures and one.pictures is None:
            out.print(f"no pictures of {one.run.out}: {one.absent}", soft_wrap=True, markup=False, style="yellow")
    out.print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)", soft_wrap=True, markup=False)
    for one in sources:
        for problem in one.run.problems:
            out.print(f"problem: {visible(problem)}", soft_wrap=True, markup=False, style="yellow")


def find_pictures(manifest: RunManifest, root: Path | None, options: Mapping[str, Any]) -> tuple[Pictures | None, str]:
    """The pictures of a run's data set; or None and why there are none.

    Args:
        manifest: Of the run. root, options: Of the data set; where neither is given, those that the run recorded.

    Raises:
        DatasetError: A root or options were given, and the data set cannot be opened with them.
        UsageError: They were given, and the data on disk are not those of the run.
    """
    from ...datasets.open import open_table
    from ...datasets.schema import DatasetError
    from ...registry import UnknownNameError

    data, asked = manifest.dataset, root is not None or bool(options)
    if not asked:
        root, options = _recorded(manifest)
    try:
        table = open_table(data.name, root, data.split, **options)
    except (DatasetError, UnknownNameError, TypeError) as error:
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


def _recorded(manifest: RunManifest) -> tuple[Path | None, Mapping[str, Any]]:
    """Root and options of the data set as the run was asked for; nothing where its record does not say."""
    request = manifest.settings.get("request")
    fields = request.get("fields") if isinstance(request, dict) else None
    if not isinstance(fields, dict):
        return None, {}
    root, options = fields.get("root"), fields.get("options")
    return (Path(root) if isinstance(root, str) else None), (options if isinstance(options, dict) else {})


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

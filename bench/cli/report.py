"""``cambench report``: the HTML page of a run, with pictures where the data set can be opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ...consoles import err, out
from ..host.errors import UsageError
from ..host.options import HIDDEN, DataOptions, Flag, IntervalOptions, PluginOptions, SplitName
from .options import command, load_plugins

if TYPE_CHECKING:
    from ...datasets.schema import SampleTable
    from ...protocol import Protocol
    from ...results.records.manifest import RunManifest
    from ...results.report import Picture, Pictures

BATCH = 16


class ReportRequest(IntervalOptions, PluginOptions, DataOptions):
    """Which runs, and where their pictures are."""

    dataset: Annotated[str, HIDDEN] = Field("", description="The run's own.")
    split: Annotated[SplitName, HIDDEN] = Field("test", description="The run's own.")
    root: Path | None = Field(
        None, description="Folder of the data set, as in 'run'. (default: where the run found it)"
    )
    runs: Annotated[tuple[Path, ...], Flag(argument=True, metavar="OUT…")] = Field(
        min_length=1, description="Folders of one or more runs."
    )
    out: Annotated[Path | None, Flag(("--out", "--dest"))] = Field(
        None,
        description="HTML file, or a folder for report.html. (default: OUT/report.html; report.html for several runs)",
    )
    samples: int = Field(
        48, ge=1, le=500, description="Images in the explorers of all tables together, 16 or more in each."
    )
    thumb: int = Field(224, ge=32, le=512, description="Largest side of a thumbnail, pixels.")
    pictures: bool = Field(True, description="Show the images themselves.")
    val: tuple[Path, ...] = Field(
        (), description="Run of the val split, for protocols that choose τ there; once a data set."
    )

    @property
    def target(self) -> Path:
        """The HTML file; a path that is a folder, or has no suffix, is the folder of ``report.html``."""
        if self.out is None:
            return self.runs[0] / "report.html" if len(self.runs) == 1 else Path("report.html")
        is_folder = self.out.is_dir() or not self.out.suffix
        return self.out / "report.html" if is_folder else self.out


@command(ReportRequest)
def report(request: ReportRequest) -> None:
    """Write one self-contained HTML page: the answer, leaderboard, cost, who beats whom, curves, images and maps.

    Runs of the same data and protocol share a table; others have tables of their own on the same page. The explorer
    redraws boxes from the maps that the run stored; its images come from the data set.

    Examples:

        cambench run --dataset synthbirds --triples 'slim_resnet/*/*' --out runs/first

        cambench report runs/first

        cambench report runs/birds runs/imagenet --out both.html
    """
    from ...results.records.run_folder import read_manifest

    for run in request.runs:
        read_manifest(run)
    err.print("starting: records, intervals and tests, pictures", soft_wrap=True)
    from ...results.records.load import load_run
    from ...results.report import Source, write_report
    from ...text import visible

    load_plugins(request.plugins)
    sources = []
    for run in request.runs:
        loaded = load_run(run)
        source, absent = None, "The report was made with --no-pictures."
        if request.pictures:
            source, absent = find_pictures(loaded.manifest, request.root, request.options)
        sources.append(Source(loaded, source, absent))
    target = write_report(
        sources,
        request.target,
        samples=request.samples,
        thumb=request.thumb,
        vals=[load_run(one) for one in request.val],
        resamples=request.resamples,
        seed=request.seed,
    )
    for one in sources:
        if request.pictures and one.pictures is None:
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
    from ...datasets.open import DataSource
    from ...datasets.schema import DatasetError
    from ...registry import UnknownNameError
    from ..engine.again import source_asked

    data, asked = manifest.dataset, root is not None or bool(options)
    source = DataSource(data.name, root, data.split, options) if asked else source_asked(manifest)
    try:
        table = source.open()
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
    return _reader(table, manifest.protocol), ""


def _reader(table: SampleTable, rules: Protocol) -> Pictures:
    from ...datasets.batches import load_batches
    from ...results.report import Picture

    def read(rows: Sequence[int]) -> Mapping[int, Picture]:
        found: dict[int, Picture] = {}
        for batch in load_batches(table, list(rows), rules.size, BATCH, 2, masks=False, crop_from=rules.crop_from):
            images = batch.images.permute(0, 2, 3, 1).numpy()
            for i, row in enumerate(batch.index.tolist()):
                found[row] = Picture(images[i], batch.gt_boxes[i])
        return found

    return read

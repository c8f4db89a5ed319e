"""``cambench doctor`` and ``cambench download``: thin commands over the functions of the datasets room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field
from rich.markup import escape
from rich.table import Table

from ...consoles import err, out
from ...progress import progress
from ..host.errors import UsageError
from ..host.options import HIDDEN, DataOptions, Flag, Options, SplitName
from .options import command

if TYPE_CHECKING:
    from ...datasets.doctor import DoctorReport, Finding, SplitReport

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


class DoctorRequest(DataOptions):
    """Which data set is looked at, and how closely."""

    dataset: Annotated[str, Flag(argument=True, metavar="NAME")] = Field(
        description="Data set: see 'cambench ls datasets'; or 'device', for the device that computes."
    )
    device: str = Field("auto", description="Of 'doctor device': auto, cpu, cuda[:N], xpu[:N] or mps.")
    split: Annotated[SplitName, HIDDEN] = Field("test", description="train, val or test.")
    splits: Annotated[tuple[SplitName, ...], Flag(("--split",))] = Field(
        (), description="Only this split; may be repeated. (default: all)"
    )
    deep: Annotated[bool, Flag(("--deep",))] = Field(False, description="Decode every image.")
    workers: int = Field(4, ge=1, description="Decoding threads of --deep.")


@command(DoctorRequest)
def doctor(request: DoctorRequest) -> None:
    """Say what is on disk: variant, counts, boxes, missing and damaged files, and the next step.

    'doctor device' compares every step of a run on a device with the CPU, measures both, and says which options follow.

    Exit codes: 0 all well, 1 problems found, 2 wrong use.

    Example:

        cambench doctor cub --root ~/data/CUB_200_2011 --deep
    """
    if request.dataset == "device":
        err.print("starting: each step of a run on the device and on the CPU, compiled first", soft_wrap=True)
        _doctor_device(request.device)
        return
    from ...datasets.schema import SPLITS, DatasetError

    try:
        request.source.check()
        from ...datasets.doctor import doctor as examine

        report = examine(
            request.dataset,
            request.root,
            deep=request.deep,
            splits=tuple(s for s in SPLITS if not request.splits or s in request.splits),
            workers=request.workers,
            track=_track,
            **request.options,
        )
    except DatasetError as error:
        raise UsageError(str(error)) from error
    show(report)
    if not report.ok:
        raise typer.Exit(1)


def _doctor_device(name: str) -> None:
    from ..timing.device_doctor import examine_device, show_device

    report = examine_device(name)
    show_device(report, out)
    if not report.ok:
        raise typer.Exit(1)


def show(report: DoctorReport) -> None:
    """Print a report: one table of splits, the findings below it, the next steps last."""
    out.print(f"[bold]{escape(report.title)}[/] ({report.name}) in {escape(str(report.root or 'the package'))}")
    out.print(f"licence: {escape(report.licence or 'see the publisher')}; source: {escape(report.source)}")
    table = Table("split", "images", "published", "classes", "boxes", "per image", "several", "masks")
    for split in report.splits:
        table.add_row(*_row(split))
    out.print(table)
    for variant in dict.fromkeys(s.variant for s in report.splits if s.variant):
        out.print(f"found as: {escape(variant)} ({', '.join(s.split for s in report.splits if s.variant == variant)})")
    found: dict[Finding, list[str]] = {}
    for split in report.splits:
        for finding in split.findings:
            found.setdefault(finding, []).append(split.split)
    for finding, names in found.items():
        _print_finding(", ".join(names), finding)
    for split in report.splits:
        for failure in split.unreadable[:20]:
            text = escape(f"{failure.image_id}: {failure.reason}")
            out.print(f"[bold red]error[/] {split.split}: cannot be decoded: {text}")
        if len(split.unreadable) > 20:
            out.print(f"[bold red]error[/] {split.split}: and {len(split.unreadable) - 20:,} more cannot be decoded")
        odd = {mode: n for mode, n in split.modes.items() if mode != "RGB"}
        if odd:
            kinds = ", ".join(f"{n:,} {mode}" for mode, n in sorted(odd.items()))
            out.print(f"[cyan]note[/] {split.split}: images that are not RGB, converted on loading: {kinds}")
    for step in report.next_steps:
        out.print(f"[green]next[/] {escape(step)}")
    if report.citation:
        out.print(f"cite: {escape(report.citation)}")


def _row(split: SplitReport) -> list[str]:
    low, mean, high = split.boxes_per_image
    return [
        split.split,
        f"{split.rows:,}" if split.rows else "–",
        f"{split.expected:,}" if split.expected is not None else "–",
        f"{split.classes_present:,} of {split.num_classes:,}" if split.rows else "–",
        f"{split.boxes:,}" if split.boxes else "–",
        f"{low} … {high}, mean {mean:.2f}" if split.boxes else "–",
        f"{split.several_boxes:,}" if split.boxes else "–",
        "yes" if split.has_masks else "–",
    ]


def _print_finding(split: str, finding: Finding) -> None:
    out.print(f"[{_COLOURS[finding.level]}]{finding.level}[/] {split}: {escape(str(finding))}")


class DownloadRequest(Options):
    """Which data set is fetched, and where to."""

    name: Annotated[str, Flag(argument=True)] = Field(description="Data set: see 'cambench ls datasets'.")
    root: Path = Field(description="Folder to download into; nothing in it is overwritten.")
    extract: bool = Field(True, description="Unpack the archives there.")
    optional: Annotated[bool, Flag(("--all",))] = Field(
        False, description="Also CUB's segmentations; ImageNet's train."
    )
    mirror: str = Field("", description="Fetch MIRROR/NAME instead; checksums as published.")


@command(DownloadRequest)
def download(request: DownloadRequest) -> None:
    """Download a data set given out over plain HTTPS or on the Hugging Face hub: resumable, checksum-verified.

    cub and tiny_imagenet come from their publishers; imagenet from the hub, for those who accepted its terms there
    and have an access token (hf auth login); the others are given out by hand only, and the command says where.

    Exit codes: 0 done, 1 failed (run the same command again to continue), 2 wrong use.

    Example:

        cambench download cub --root ~/data --all
    """
    from ...datasets.fetch import download as fetch

    report = fetch(
        request.name,
        request.root,
        extract=request.extract,
        optional=request.optional,
        base_url=request.mirror,
        track=_track_bytes,
    )
    for file in report.files:
        unpacked = f", {file.extracted:,} files extracted" if file.extracted else ""
        check = f", {file.checksum.partition(':')[0]} verified" if file.checksum else ""
        out.print(f"{escape(file.name)}: {file.outcome}{check}{unpacked} → {escape(str(file.path))}")
    for step in report.manual:
        out.print(f"[green]by hand[/] {escape(step)}")
    out.print(f"next: cambench doctor {request.name} --root {escape(str(report.root))}")


@contextmanager
def _track(title: str, total: int, unit: str = "images") -> Iterator[Callable[[int], object]]:
    with progress(title, total, unit) as bar:
        yield bar.advance


def _track_bytes(title: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
    return _track(title, total, "bytes")

"""``cambench doctor device``: whether a device computes as the CPU does, how fast it is, and which options follow."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...baselines.backbones import open_backbone
from ...baselines.cams import CAMS
from ...baselines.contracts import HEADS
from ...consoles import err
from ...datasets.batches import fewest
from ...metrics.functional.boxes import quantize
from ...protocol import PAPER
from ..engine.networks import same_numbers
from ..engine.run_record import device_name
from ..engine.scoring.reading import Reading
from ..host.device import pick_device
from ..host.dtypes import Dtype, computes
from ..host.versions import LIBRARIES, library_versions
from .device_checks import BuiltIn, DeviceCheck, check_device
from .device_rates import bandwidth, box_times, decode_rates, forward_rates, matrix_rate, memory_gib

NETWORK = "slim_resnet"
"""Ships with the package."""
ROUNDED: tuple[Dtype, ...] = ("tf32", "bfloat16")
"""Precisions that are timed beside float32, the least rounded one first."""
IMAGES = 4


class DeviceReport(BaseModel):
    """What was found of a device; rates are of the built-in batch and the network that ships."""

    model_config = ConfigDict(extra="forbid")

    device: str
    date: str
    versions: dict[str, str]
    checks: list[DeviceCheck] = Field(default_factory=list)
    figures: dict[str, str] = Field(default_factory=dict)
    advice: list[str] = Field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every step is as on the CPU."""
        return all(check.ok for check in self.checks)


def examine_device(name: str) -> DeviceReport:
    """Check and time a device on a built-in batch; ``name`` as of ``--device``.

    Raises:
        UsageError: There is no such device.
    """
    device = torch.device(pick_device(name))
    report = DeviceReport(
        device=device_name(device),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), **library_versions(LIBRARIES)},
    )
    network = open_backbone(NETWORK, num_classes=None).freeze()
    batch = BuiltIn.of(IMAGES, PAPER.size)
    with same_numbers(device):
        _say("checking the forward")
        for check in check_device(network, batch, device):
            _say(f"checked: {check.step}")
            report.checks.append(check)
        _say("timing the box engines")
        seen = Reading(network, PAPER).see(batch.images, [str(i) for i in range(IMAGES)], None)
        levels = quantize(seen.score_map(CAMS.get("layercam"), HEADS.get("softmax")).locate()[1])
        boxes = box_times(levels.repeat(4, 1, 1), batch, device)
        there = network.to(device)
        _say("timing forwards by batch size and in tf32 and bfloat16")
        sizes = (1, 4, 16, 64, 256) if device.type != "cpu" else (1, 4, 16)
        rates = forward_rates(there, device, sizes, "float32")
    rounded: dict[str, dict[int, float]] = {}
    for dtype in (name for name in ROUNDED if computes(device, name)):
        with same_numbers(device, dtype):
            rounded[dtype] = forward_rates(there, device, [max(rates)], dtype)
    _say("timing the host's decoding, memory and products")
    free, whole = memory_gib(device)
    decoding = decode_rates()
    report.figures = {
        "memory": f"{free:.1f} of {whole:.1f} GiB free",
        "bandwidth": f"{bandwidth(device):.1f} GB/s",
        "matrix products, float32": f"{matrix_rate(device):.2f} TFLOP/s",
        f"forward of {NETWORK}, images/s by batch": _listed(rates),
        **{f"the same in {name}, batch {max(rates)}": _listed(r) or "does not fit" for name, r in rounded.items()},
        "boxes, ms a map by engine": ", ".join(f"{engine}: {ms:.2f}" for engine, ms in boxes.items()),
        "decoding on the host, images/s by threads": _listed(decoding),
    }
    report.advice = advise(rates, rounded, decoding, boxes, report.checks)
    return report


def _say(step: str) -> None:
    """A step takes seconds, on a busy machine many; the report comes at the end."""
    err.print(step, markup=False, highlight=False)


def advise(
    rates: dict[int, float],
    rounded: dict[str, dict[int, float]],
    decoding: dict[int, float],
    boxes: dict[str, float],
    checks: list[DeviceCheck],
) -> list[str]:
    """The options that follow from what was measured; an engine that is wrong is never advised.

    Args:
        rates: Images/s by batch size, float32. rounded: The same by dtype, of one batch size.
        decoding: Images/s by threads. boxes: Milliseconds a map by engine.
        checks: Of ``check_device``.
    """
    wrong = {check.step.removeprefix("boxes, ") for check in checks if not check.ok}
    batch, workers = fewest(rates), fewest(decoding)
    engine = min((name for name in boxes if name not in wrong), key=boxes.__getitem__)
    # The least rounded one of those that gain.
    gains = {name: fast / rates[size] for name, of in rounded.items() for size, fast in of.items()}
    quicker = next((name for name, gain in gains.items() if gain > 1.1 and gain > 0.9 * max(gains.values())), None)
    lines = [
        f"--batch-size {batch} (the smallest within 5 % of the best rate of a small network; a larger one takes more)",
        f"--dtype {quicker} is {gains[quicker]:.1f} times as fast here; its scores differ a little from float32's"
        if quicker
        else f"--dtype float32 ({' and '.join(rounded) or 'any other'} gain{'s' * (len(rounded) < 2)} nothing here)",
        f"--workers {workers}",
        f"--box-engine {engine}",
    ]
    if decoding[workers] < rates[batch]:
        lines.append(
            f"decoding ({decoding[workers]:.0f} images/s) is slower than the forward of a small network "
            f"({rates[batch]:.0f}): a run of a few cheap methods waits for it"
        )
    if wrong:
        lines.append(f"do not trust this device with: {', '.join(sorted(wrong))}; --device cpu computes it")
    return lines


def _listed(rates: dict[int, float]) -> str:
    return ", ".join(f"{number}: {rate:.0f}" for number, rate in rates.items())


def show_device(report: DeviceReport, console: Console) -> None:
    """Print a report: the checks, the figures, the advice."""
    console.print(f"[bold]{escape(report.device)}[/], {report.date}, torch {report.versions['torch']}")
    checks = Table("step", "as on the CPU", "", box=None)
    for check in report.checks:
        checks.add_row(check.step, "yes" if check.ok else "[bold red]no[/]", escape(check.said))
    console.print(checks)
    figures = Table("measured", "", box=None)
    for what, value in report.figures.items():
        figures.add_row(what, value)
    console.print(figures)
    for line in report.advice:
        console.print(f"[green]advice[/] {escape(line)}", soft_wrap=True)

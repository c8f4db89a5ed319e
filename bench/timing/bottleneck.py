"""What bounds a run here: the stage that costs most, the rate without it, and the option that would help."""

from __future__ import annotations

from collections.abc import Mapping

HELP = {
    "decode": "--workers",
    "boxes": "--box-engine tensor on an accelerator, more box_threads on a CPU",
    "forward": "--compile kernels, --device cuda, or --dtype tf32 or bfloat16 on an accelerator",
    "fidelity": "--compile kernels, --no-fidelity for localisation alone, or --triples with fewer distinct maps, each "
    "of which is masked and computed anew",
}
"""Stage -> the option that makes it cheaper; other stages are of the methods that are asked for."""


def bottleneck(
    stages: Mapping[str, float], decode: float, box_threads: int, *, shared: bool, compiled: bool = False
) -> str:
    """One line, by the stages' medians.

    Args:
        stages: Stage -> ms an image; ``boxes`` is the time of all its threads together.
        decode: Of the input pipeline alone, ms an image.
        box_threads: Threads that share the boxes; 1 where the device computes them.
        shared: Everything is computed by the same cores, so that costs add up; else decode and boxes run beside.
        compiled: Forwards are compiled already.
    """
    beside = {"decode": decode, "boxes": stages.get("boxes", 0.0) / box_threads}
    rest = {name: ms for name, ms in stages.items() if name not in ("boxes", "load")}

    def total(free: str) -> float:
        line = sum(ms for name, ms in rest.items() if name != free)
        others = [ms for name, ms in beside.items() if name != free]
        return line + sum(others) if shared else max(line, *others)

    worst = min({**beside, **rest}, key=total)
    without = total(worst)
    better = f"{1e3 / without:.0f}" if without else "no bound"
    advice = HELP.get(worst, "--triples with cheaper methods")
    if compiled:
        advice = advice.removeprefix("--compile kernels, ").removeprefix("or ")
    return f"bound by {worst}: {1e3 / total(''):.0f} images/s; if it were free, {better}; {advice}"

"""Ratios of the metric benchmarks from pytest-benchmark's JSON, as Markdown.

Usage: pytest tests/benchmarks/test_bench_boxes.py --benchmark-only --benchmark-json=FILE; python metric_ratios.py FILE
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

TARGETS = {"relu7": 50, "relu14": 50, "signed14": 50, "signed28": 50, "signed14-filled": 90, "noise": 20}
"""Required ratios; bicubic ripples give ReLU maps holes too, the filled maps have none."""


def milliseconds_per_map(report: dict, statistic: str) -> dict[str, float]:
    """Milliseconds per map of every benchmark, by one statistic of its rounds."""
    return {
        b["name"]: 1e3 * b["stats"][statistic] / b["extra_info"]["maps"]
        for b in report["benchmarks"]
        if "maps" in b["extra_info"]
    }


def row(work: str, slow: str, fast: str, target: str, report: dict) -> str:
    """A table row: medians, their ratio, and the ratio of the fastest rounds."""
    median, least = (milliseconds_per_map(report, s) for s in ("median", "min"))
    ratios = f"{median[slow] / median[fast]:.1f} | {least[slow] / least[fast]:.1f}"
    return f"| {work} | {median[slow]:.3f} | {median[fast]:.3f} | {ratios} | {target} |"


def markdown(report: dict) -> str:
    """The report of one run."""
    cpu = report["machine_info"]["cpu"]
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}" for p in ("torch", "numpy", "numba", "opencv-python-headless")
    )
    lines = [
        "# Metric kernels on a CPU",
        "",
        f"- date: {report['datetime'][:16]}",
        f"- device: {cpu.get('count')} cores, {re.sub(r'[^ -~]', '', cpu.get('brand_raw', 'unknown'))}",
        f"- versions: {versions}",
        "- one thread; medians; the reference runs 1001 thresholds, multi and single contours, OpenCV",
        "",
        "| work, per 224×224 map | reference, ms | ours, ms | ratio of medians | ratio of fastest rounds | target |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, target in TARGETS.items():
        pair = f"test_bench_published_rules[{kind}]", f"test_bench_level_ious[{kind}]"
        lines.append(row(f"box curves, {kind}", *pair, f"≥ {target}", report))
    pair = "test_bench_pixel_histograms[numpy]", "test_bench_pixel_histograms[ours]"
    lines.append(row("PxAP update", *pair, "≥ 5", report))
    pair = "test_bench_box_threads[1]", "test_bench_box_threads[2]"
    lines.append(row("box curves, two threads (reference: one)", *pair, "≥ 1.8", report))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))

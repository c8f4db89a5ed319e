"""Ratios of the metric benchmarks from pytest-benchmark's JSON, as Markdown.

Usage: pytest tests/benchmarks/test_bench_boxes.py --benchmark-only --benchmark-json=FILE; python metric_ratios.py FILE
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

TARGETS = {"relu7": 90, "relu14": 90, "signed14": 50, "signed28": 50, "signed14-filled": 90, "noise": 20}


def milliseconds_per_map(report: dict) -> dict[str, float]:
    """Median milliseconds per map of every benchmark."""
    return {b["name"]: 1e3 * b["stats"]["median"] / b["extra_info"]["maps"] for b in report["benchmarks"]}


def markdown(report: dict) -> str:
    """The report of one run."""
    at = milliseconds_per_map(report)
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
        "| work, per 224×224 map | published rules, ms | ours, ms | ratio | target |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, target in TARGETS.items():
        slow, fast = at[f"test_bench_published_rules[{kind}]"], at[f"test_bench_level_ious[{kind}]"]
        lines.append(f"| box curves, {kind} | {slow:.1f} | {fast:.3f} | {slow / fast:.1f} | {target} |")
    slow, fast = at["test_bench_pixel_histograms[numpy]"], at["test_bench_pixel_histograms[ours]"]
    lines.append(f"| PxAP update | {slow:.3f} | {fast:.3f} | {slow / fast:.1f} | 5 |")
    slow, fast = at["test_bench_box_threads[1]"], at["test_bench_box_threads[2]"]
    lines.append(f"| box curves, 2 threads against 1 | {slow:.3f} | {fast:.3f} | {slow / fast:.2f} | 1.8 |")
    lines.append(f"| resize, min-max, quantise | | {at['test_bench_quantize_levels']:.3f} | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))

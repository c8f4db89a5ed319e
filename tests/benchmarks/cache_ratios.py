"""The loader with and without ``--cache-images``, in turns in one process, as Markdown.

Usage: python tests/benchmarks/cache_ratios.py [--rounds N] [--images N] >> results/timings/loading-cpu.md
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import datasets as hf
import numpy as np
from PIL import Image, ImageFilter

from cambench.datasets.batches import load_batches, with_decoded_cache
from cambench.datasets.schema import SampleTable, sample_features

SIZE, BATCH, WORKERS = 224, 32, 2


def pictures(folder: Path, count: int, size: tuple[int, int]) -> SampleTable:
    """JPEG files of quality 90 whose detail is that of photographs more or less: noise, blurred."""
    paths, random = [], np.random.default_rng(0)
    for i in range(count):
        noise = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        paths.append(folder / f"{size[0]}-{i}.jpg")
        noise.filter(ImageFilter.GaussianBlur(2)).save(paths[-1], quality=90)
    empty = [None] * count
    rows = {"image_id": [p.name for p in paths], "image": [{"bytes": None, "path": str(p)} for p in paths]}
    rows |= {"label": [0] * count, "width": empty, "height": empty, "boxes": [[[0.0, 0.0, 9.0, 9.0]]] * count}
    rows |= {"masks": [[]] * count, "ignore": empty, "evidence": empty}
    return SampleTable("t", "test", hf.Dataset.from_dict(rows, features=sample_features(["a"])), ("a",), f"{size}")


def rate(table: SampleTable) -> float:
    """Images/s of the loader over the whole table."""
    begun = time.perf_counter()
    count = sum(len(batch) for batch in load_batches(table, range(len(table)), SIZE, BATCH, WORKERS))
    return count / (time.perf_counter() - begun)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=128)
    given = parser.parse_args()
    print("## Decoded images that are kept (`--cache-images`)\n")
    print(f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f};")
    print(f"{given.images} JPEG files of quality 90, batches of {BATCH} at {SIZE}×{SIZE}, {WORKERS} decoding threads;")
    print(f"medians of {given.rounds} rounds, the three in turns in one process; all files are in the page cache.\n")
    names = "decoded, images/s | decoded and kept (first run), images/s | kept (later runs), images/s"
    print(f"| pictures | {names} | later / decoded |")
    print("|---|---:|---:|---:|---:|")
    for size in ((500, 375), (1024, 768)):
        with tempfile.TemporaryDirectory() as name:
            table, folder = pictures(Path(name), given.images, size), Path(name) / "kept"
            rounds = []
            for number in range(given.rounds + 1):
                for file in folder.glob("*"):
                    file.unlink()
                first = with_decoded_cache(table, folder, 1 << 30, SIZE, None, print)
                later = replace(first)
                found = rate(table), rate(first), rate(later)
                assert first.decoded.found == given.images
                first.decoded.close()
                if number:
                    rounds.append(found)
        plain, filling, kept = (statistics.median(r) for r in zip(*rounds, strict=True))
        ratio = statistics.median(r[2] / r[0] for r in rounds)
        print(f"| {size[0]}×{size[1]} | {plain:.0f} | {filling:.0f} | {kept:.0f} | {ratio:.1f} |", flush=True)
    print(f"\nReproduce: `python tests/benchmarks/cache_ratios.py --rounds {given.rounds}`.")


if __name__ == "__main__":
    main()

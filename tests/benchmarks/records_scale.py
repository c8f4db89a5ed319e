"""Seconds and peak memory of reading a large run: ``python tests/benchmarks/records_scale.py --images 130000``.

Makes up records of a run (box data, fidelity; every image and triple has a row of its own) in a folder, and the images
of a data set (hard links to a few small JPEG files), then times each command in a process of its own: index of the
data set, dry run, leaderboard, comparison, report. Prints a Markdown table. With ``--keep DIR`` the folders stay, and
are used again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cambench.protocol import PAPER
from cambench.results.records.described import BackboneRecord, BranchRecord, CamRecord, DatasetRecord, HeadRecord
from cambench.results.records.manifest import RunManifest
from cambench.results.records.store import RunStore

CLASSES, SHARD, NETWORK = 1000, 1024, "net"


def manifest(images: int, triples: int) -> RunManifest:
    """Of a run of one network: half as many methods as triples, under two heads."""
    branches = {name: BranchRecord(sha256=name, provenance="made up") for name in ("softmax", "sigmoid")}
    cams = [f"method{number:02d}" for number in range(triples // 2)]
    return RunManifest(
        code_version="0.1.0",
        protocol=PAPER,
        dataset=DatasetRecord(
            name="madeup", split="test", fingerprint="f" * 16, rows=images, num_classes=CLASSES, has_boxes=True
        ),
        shard_size=SHARD,
        options={"dtype": "float32"},
        triples=[f"{NETWORK}/{cam}/{head}" for cam in cams for head in branches],
        backbones={NETWORK: BackboneRecord(title="Net", weights_sha256="w", num_classes=CLASSES, branches=branches)},
        cams={cam: CamRecord(title=cam) for cam in cams},
        heads={
            "softmax": HeadRecord(title="softmax"),
            "sigmoid": HeadRecord(title="sigmoid", branch="sigmoid", clamp=True),
        },
        versions={"python": "3.11"},
        devices=["cpu"],
    )


def made_up(number: int, rows: range, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of a shard of the triple ``number``: each hit curve is one stretch of levels, as most real ones are."""
    n, index = len(rows), np.arange(rows.start, rows.stop)
    labels = (index % CLASSES).astype(np.int32)
    right = rng.random(n) < 0.7
    columns: dict[str, np.ndarray[Any, Any]] = {
        "image_id": np.array([f"val/ILSVRC2012_val_{i:08d}.JPEG" for i in index], dtype=object),
        "index": index,
        "label": labels,
        "predicted": np.where(right, labels, (labels + 1) % CLASSES).astype(np.int32),
        "target": labels,
        "degenerate": np.zeros(n, np.uint8),
        "peak": np.full(n, 255, np.uint8),
        "n_boxes": np.ones(n, np.int32),
        "y": rng.uniform(0.2, 0.9, n),
        "o": rng.uniform(0.05, 0.95, n),
    }
    levels = np.arange(256)
    for name in ("hits_multi", "hits_single", "hits_single_first"):
        start = rng.integers(0, 120, (n, 3, 1))
        width = rng.integers(0, 100 + number, (n, 3, 1))
        columns[name] = np.packbits((levels >= start) & (levels < start + width), axis=-1)
    return columns


def fabricate(out: Path, images: int, triples: int) -> None:
    """Write the records of a whole run."""
    plan = manifest(images, triples)
    with RunStore.open(out, plan) as store:
        names = [str(t) for t in store.manifest.triples]
        for shard in range(store.manifest.shards):
            if store.shard_done(NETWORK, shard, names):
                continue
            rng = np.random.default_rng(shard)
            rows = store.manifest.rows_of(shard)
            store.write_shard(NETWORK, shard, {t: made_up(i, rows, rng) for i, t in enumerate(names)})
        store.finish()


def image_folder(root: Path, images: int) -> None:
    """A folder of ``images`` files in 1000 classes, hard links to a few small pictures."""
    if root.is_dir():
        return
    sources = root / "test"
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        (sources / f"class{label:04d}").mkdir(parents=True)
    first: list[Path] = []
    for index in range(images):
        path = sources / f"class{index % CLASSES:04d}" / f"{index:08d}.jpg"
        if len(first) < 16:
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path, quality=60)
            first.append(path)
        else:
            # A file system allows a limited number of links to one file.
            if index % 30_000 == 0:
                first[0] = path
                path.write_bytes(first[1].read_bytes())
                continue
            os.link(first[0], path)


def measured(words: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory (GiB) of ``cambench`` with these words."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "cambench", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"cambench {' '.join(words)} failed:\n{said.decode()}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def main() -> None:
    """Make up what is missing, time the commands, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=13_000)
    parser.add_argument("--triples", type=int, default=20, help="an even number")
    parser.add_argument("--keep", type=Path, help="folder in which all stays")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = given.keep or Path(scratch)
        out, pictures = home / "run", home / "pictures"
        begun = time.perf_counter()
        fabricate(out, given.images, given.triples)
        image_folder(pictures, given.images)
        print(f"made up in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        size = sum(f.stat().st_size for f in out.rglob("*.parquet"))
        rows = given.images * given.triples
        print(f"{given.images:,} images × {given.triples} triples; {size / rows:.1f} bytes a row on disk\n")
        data = ("--dataset", "folder", "--root", str(pictures))
        first, second = (f"{NETWORK}/method00/{head}" for head in ("softmax", "sigmoid"))
        commands = {
            "index of the data set, nothing cached": ("doctor", *data[1:]),
            "dry run": (
                "run",
                *data,
                "--option",
                "labels=none",
                "--triples",
                "slim_resnet/*/softmax",
                "--dry-run",
                "--out",
                str(home / "none"),
            ),
            "leaderboard --no-intervals": ("leaderboard", str(out), "--no-intervals", "--dest", str(home / "tables")),
            "compare two triples": ("compare", str(out), first, second),
            "report --no-pictures": ("report", str(out), "--no-pictures", "--dest", str(home / "report.html")),
        }
        print("| command | wall s | CPU s | peak GiB |\n|:---|---:|---:|---:|")
        environment = {**os.environ, "CAMBENCH_CACHE": str(home / "cache")}
        for name, words in commands.items():
            wall, cpu, peak = measured(words, environment)
            print(f"| {name} | {wall:.0f} | {cpu:.0f} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    main()

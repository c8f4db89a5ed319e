"""What head training costs beside one pass of the frozen network, as a Markdown table: ``python training_ratios.py``.

Both are timed in turns within one process, decoding included; ratios of medians, with the range over the rounds. CPU
seconds are those of the process alone, so they also hold on a busy machine.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

import torch

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.contracts import Backbone
from cambench.bench.training.head import train_head
from cambench.bench.training.means import PASS_BATCH, Means
from cambench.bench.training.recipes.recipe import HeadRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import SampleTable

WORKERS = 2
NETWORKS = {"slim_resnet": (240, 5), "efficientnet_lite0": (96, 5), "resnet50": (32, 3), "vgg16": (320, 2)}
"""Network -> training images, rounds."""


@torch.no_grad()
def plain_pass(backbone: Backbone, table: SampleTable) -> None:
    """Decode the table and compute its features once."""
    for batch in load_batches(table, range(len(table)), 224, PASS_BATCH, WORKERS, masks=False):
        backbone.features(backbone.normalise(batch.images.float().div_(255)))


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and CPU seconds (all threads) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, images: int, rounds: int, epochs: int) -> str:
    """One row of the table."""
    table = open_table("synthbirds", None, "train").head(images)
    backbone = open_backbone(name, table.num_classes, pretrained=not name.startswith(("resnet", "vgg")))
    backbone.needs_training = False
    recipe = load_recipe(HeadRecipe, "paper").model_copy(update={"epochs": epochs})

    def head() -> None:
        train_head(backbone, table, recipe, means=Means(workers=WORKERS))

    plain_pass(backbone, table)
    head()
    taken = [(cost(lambda: plain_pass(backbone, table)), cost(head)) for _ in range(rounds)]
    kind = "MLP head" if backbone.head_kind == "mlp" else "GAP + linear"
    cells = [f"{name}, {kind}", str(images), str(epochs)]
    for clock in (1, 0):
        before, after = ([r[i][clock] for r in taken] for i in (0, 1))
        ratios = sorted(b / a for a, b in zip(before, after, strict=True))
        middle = statistics.median(after) / statistics.median(before)
        cells += [f"{statistics.median(before):.2f}", f"{middle:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    # Threads of one process that wait for one another measure the other processes of a busy machine.
    torch.set_num_threads(1)
    sys.stdout.write(f"- load average at the start: {os.getloadavg()[0]:.1f}; one thread, {WORKERS} for decoding\n\n")
    sys.stdout.write(
        "| network | images | epochs | one pass, CPU s | head training, passes | one pass, s | the same |\n"
    )
    sys.stdout.write("|---|---:|---:|---:|---:|---:|---:|\n")
    chosen = {n: NETWORKS[n] for n in sys.argv[1:]} or NETWORKS
    for name, (images, rounds) in chosen.items():
        for epochs in (3, 30) if name in ("slim_resnet", "efficientnet_lite0") else (3,):
            sys.stdout.write(measure(name, images, rounds, epochs) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n- load average at the end: {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()

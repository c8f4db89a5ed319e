"""Our maps and fidelity scores beside the peers', on one network and the same images, as a table.

``python tests/peers/conformance.py --out results/conformance/peers.md``
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from divergences import DIVERGES, METRICS, REMARKS
from peer_fidelity import FidelityRow, fidelity_rows
from peer_methods import METHODS, PeerMethod, our_maps
from peer_removal import removal_rows
from torch import Tensor

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.contracts import Backbone
from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table

NETWORKS = ("slim_vgg", "slim_resnet")
ROWS = (0, 60, 130, 220)
"""Images of the synthbirds test split."""
EQUAL = 1e-4
"""Maps in [0, 1] that differ by less are the same up to rounding (float32)."""
PACKAGES = {"pytorch-grad-cam": "grad-cam", "torch-cam": "torchcam", "Captum": "captum", "Quantus": "quantus"}


@dataclass(frozen=True)
class Row:
    """One method of one peer on one network: largest difference of the maps in [0, 1], peer's time over ours."""

    method: PeerMethod
    network: str
    difference: float
    cost_ratio: float

    @property
    def same(self) -> bool:
        """The maps are equal up to rounding."""
        return self.difference < EQUAL

    @property
    def why(self) -> str:
        """What there is to say of it."""
        key = self.method.package, self.method.ours
        return REMARKS.get(key, "") if self.same else DIVERGES.get(key, "UNEXPLAINED")


def example(name: str) -> tuple[Backbone, Backbone, Tensor, list[int]]:
    """A shipped network, a copy whose parameters take gradients (peers ask for that), images and their classes."""
    net = open_backbone(name)
    batch = next(iter(load_batches(open_table("synthbirds", None, "test"), list(ROWS), 224, len(ROWS), 1)))
    images = net.normalise(batch.images.float() / 255)
    with torch.no_grad():
        classes: list[int] = net(images).argmax(1).tolist()
    return net, copy.deepcopy(net).requires_grad_(True), images, classes


def compare(
    method: PeerMethod, net: Backbone, peer: Backbone, images: Tensor, classes: Sequence[int], rounds: int
) -> Row:
    """One row. Both are timed in turns for ``rounds`` after their first call; with none, the first call is the time."""
    chosen, targets = images[: method.images], list(classes[: method.images])
    found: list[Tensor] = []
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + rounds):
        for seconds, call, network in ((spent[0], our_maps(method.ours), net), (spent[1], method.maps, peer)):
            start = time.perf_counter()
            maps = call(network, chosen.clone(), targets)
            seconds.append(time.perf_counter() - start)
            found.append(maps)
    difference = float((_scaled(found[0]) - _scaled(found[1])).abs().max())
    ours, theirs = (statistics.median(seconds[1:] or seconds) for seconds in spent)
    return Row(method, net.name, difference, theirs / ours)


def applicable(method: PeerMethod, net: Backbone) -> bool:
    """The method is compared on this network."""
    return supports(CAMS.get(method.ours), net) is None and (not method.networks or net.name in method.networks)


def _scaled(maps: Tensor) -> Tensor:
    positive = maps.double().clamp_min(0)
    positive = positive - positive.amin((1, 2), keepdim=True)
    return positive / positive.amax((1, 2), keepdim=True).clamp_min(1e-300)


def page(rows: Sequence[Row], fidelity: Sequence[FidelityRow], removal: Sequence[FidelityRow] = ()) -> str:
    """The table as Markdown."""
    packages = ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items())
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    lines = [
        "# Beside other packages",
        "",
        "Written by `tox -e peers`.",
        "",
        f"- date: {datetime.now(UTC):%Y-%m-%dT%H:%M}; {platform.machine()}, {torch.get_num_threads()} thread(s), "
        f"load average {load}",
        f"- {packages}; torch {torch.__version__}",
        f"- networks with shipped weights: {', '.join(dict.fromkeys(r.network for r in rows))}; synthbirds test images "
        f"{', '.join(map(str, ROWS))} (fewer for expensive methods), the predicted class, softmax head",
        "- difference: largest absolute difference of two maps at the feature map's resolution (input "
        "attributions: the image's), after ReLU and "
        f"min-max; below {EQUAL:g} the maps are the same up to float32 rounding",
        "- cost: the peer's time over ours, both from images to maps and each on its own, timed in turns",
        "",
        "## Maps",
        "",
        "| method | peer | network | difference | same | peer's cost / ours | what there is to know |",
        "|:---|:---|:---|---:|:---|---:|:---|",
    ]
    lines += [
        f"| {CAMS.get(row.method.ours).title} | {row.method.package} `{row.method.name}` | {row.network} "
        f"| {row.difference:.1e} | {'yes' if row.same else 'no'} | {row.cost_ratio:.2f} | {row.why} |"
        for row in rows
    ]
    lines += [
        "",
        "## Average Drop and Increase in Confidence",
        "",
        "Both on the maps of Grad-CAM, on the same images; in %.",
    ]
    lines += _scores(fidelity)
    lines += [
        "",
        "## ROAD, its imputation, and the similarity of maps",
        "",
        "On the maps of Grad-CAM, without noise; in %.",
    ]
    lines += _scores(removal)
    return "\n".join(lines) + "\n"


def _scores(rows: Sequence[FidelityRow]) -> list[str]:
    lines = [
        "",
        "| score | peer | network | theirs | ours | what there is to know |",
        "|:---|:---|:---|---:|---:|:---|",
    ]
    for found in rows:
        known = found.remark or (METRICS.get(found.package, "") if found.explained else "")
        lines.append(
            f"| {found.score} | {found.package} | {found.network} | {found.theirs:.3f} | {found.ours:.3f} | {known} |"
        )
    return lines


def main() -> None:
    """Compare everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows: list[Row] = []
    fidelity: list[FidelityRow] = []
    removal: list[FidelityRow] = []
    for name in NETWORKS:
        net, peer, images, classes = example(name)
        chosen = [m for m in METHODS if applicable(m, net)]
        rows += [compare(m, net, peer, images, classes, given.rounds if m.cheap else 0) for m in chosen]
        fidelity += fidelity_rows(net, peer, images, classes)
        removal += removal_rows(net, peer, images, classes)
    rows.sort(key=lambda r: METHODS.index(r.method))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page(rows, fidelity, removal), encoding="utf-8")


if __name__ == "__main__":
    main()

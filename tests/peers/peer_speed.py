"""All maps of the paper's methods under both heads: ours, pytorch-grad-cam's and torch-cam's, in one process, in turns.

``python tests/peers/peer_speed.py --out results/timings/peers-cpu.md``
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from peer_methods import grad_cam_package, torch_cam_package
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import BACKBONES, HEADS, Backbone, Branch
from cambench.protocol import PAPER

METHODS = {
    "cam": (None, "CAM"),
    "gradcam": ("GradCAM", "GradCAM"),
    "gradcam++": ("GradCAMPlusPlus", "GradCAMpp"),
    "xgradcam": ("XGradCAM", "XGradCAM"),
    "layercam": ("LayerCAM", "LayerCAM"),
}
"""Our method -> pytorch-grad-cam's class, torch-cam's class."""
BRANCHES: tuple[Branch, ...] = ("softmax", "sigmoid")
CLASSES = 200


@dataclass(frozen=True)
class Timing:
    """A way to make the maps of one network: CPU seconds of each round, and how many maps it makes."""

    name: str
    seconds: list[float]
    maps: int


def network(name: str) -> Backbone:
    """The network with random weights and both branches."""
    torch.manual_seed(0)
    net = BACKBONES.get(name).build(CLASSES)
    net.heads["sigmoid"] = net.head().fresh()
    return net.freeze()


def our_pass(net: Backbone, images: Tensor) -> int:
    """Every map from one forward, none left out for being equal to another; returns their number."""
    with torch.no_grad():
        features = net.features(images)
        target = net.head("softmax")(features).argmax(1)
        evidence = {b: Evidence(features, net.head(b), target) for b in BRANCHES}
        methods = [m for m in map(CAMS.get, METHODS) if supports(m, net) is None]
        return len([score_map(m, evidence[h.branch], h, PAPER) for m in methods for h in map(HEADS.get, BRANCHES)])


def peer_pass(net: Backbone, images: Tensor, package: int) -> int:
    """The same maps by a peer, one call each; the sigmoid branch is a copy of the network with that head."""
    made = 0
    classes = [0] * len(images)
    for branch in BRANCHES:
        # The peers read the network's output, which is that of the head in this place.
        softmax = net.heads["softmax"]
        net.heads["softmax"] = net.heads[branch]
        try:
            for cam, names in METHODS.items():
                name = names[package]
                if name is None or supports(CAMS.get(cam), net) is not None:
                    continue
                maps = torch_cam_package(name, scores=cam != "cam") if package else grad_cam_package(name)
                maps(net, images, classes)
                made += 1
        finally:
            net.heads["softmax"] = softmax
    return made


def measure(name: str, batch: int, rounds: int) -> list[Timing]:
    """Plain forward, ours, pytorch-grad-cam, torch-cam: timed in turns after one round that is not."""
    net = network(name)
    peer = copy.deepcopy(net).requires_grad_(True)
    images = torch.randn(batch, 3, 224, 224)

    def forward() -> int:
        with torch.no_grad():
            net(images)
        return 1

    calls: dict[str, Callable[[], int]] = {
        "one plain forward": forward,
        "cambench": lambda: our_pass(net, images),
        "torch-cam": lambda: peer_pass(peer, images, 1),
        "pytorch-grad-cam": lambda: peer_pass(peer, images, 0),
    }
    found = {key: Timing(key, [], call()) for key, call in calls.items()}
    for _ in range(rounds):
        for key, call in calls.items():
            # A forward is short beside the rest: its median is over more calls.
            for _ in range(3 if key == "one plain forward" else 1):
                # CPU time: other processes of a busy machine do not count.
                start = time.process_time()
                call()
                found[key].seconds.append(time.process_time() - start)
    return list(found.values())


def page(figures: dict[str, list[Timing]], batch: int, rounds: int, load: str) -> str:
    """The table as Markdown."""
    lines = [
        "# All maps of the paper's methods, beside other packages, on a CPU",
        "",
        f"- date: {datetime.now(UTC):%Y-%m-%dT%H:%M}; {platform.machine()}, {torch.get_num_threads()} thread(s); load "
        f"average {load}",
        f"- grad-cam {version('grad-cam')}, torchcam {version('torchcam')}, torch {torch.__version__}",
        f"- random weights, {CLASSES} classes, batch of {batch} at 224×224, float32; feature maps of 14×14",
        f"- one process, the four rows in turns, {rounds} rounds; medians of CPU time, in plain forwards (no gradient, "
        "same batch)",
        "- maps: CAM (GAP + linear heads only; pytorch-grad-cam has none), Grad-CAM, Grad-CAM++, XGrad-CAM, Layer-CAM, "
        "each under the",
        "  softmax and the sigmoid head; ours computes every one of them, none as the alias of another",
        "",
        "| network | package | maps | forwards, all maps | forwards a map | CPU ms a batch |",
        "|:---|:---|---:|---:|---:|---:|",
    ]
    for name, timings in figures.items():
        unit = statistics.median(timings[0].seconds)
        for timing in timings:
            median = statistics.median(timing.seconds)
            maps = "–" if timing is timings[0] else str(timing.maps)
            each = "–" if timing is timings[0] else f"{median / unit / timing.maps:.2f}"
            lines.append(f"| {name} | {timing.name} | {maps} | {median / unit:.2f} | {each} | {1e3 * median:.0f} |")
    lines += ["", "Reproduce: `python tests/peers/peer_speed.py --out results/timings/peers-cpu.md`."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    before = os.getloadavg()[0]
    figures = {name: measure(name, given.batch, given.rounds) for name in ("resnet50", "vgg16")}
    load = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page(figures, given.batch, given.rounds, load), encoding="utf-8")


if __name__ == "__main__":
    main()

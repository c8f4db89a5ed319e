"""Re-scoring methods beside the forwards that they need, in turns in one process, as Markdown.

Usage: python tests/benchmarks/method_ratios.py [--rounds N] [--ablation] > results/timings/methods-cpu.md
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.contracts import BACKBONES, Backbone
from cambench.bench.host.allocator import keep_freed_memory

RISE = sys.modules[CAMS.get("rise").fn.__module__]
BATCH, MASKS = 4, 104
NETWORKS = ("slim_resnet", "slim_vgg")
PEER_CHANNELS = 64


def network(name: str) -> Backbone:
    torch.manual_seed(0)
    return BACKBONES.get(name).build(None).freeze()


def evidence(net: Backbone, images: Tensor) -> Evidence:
    features = net.features(images)
    return Evidence(features, net.head(), net.head()(features).argmax(1), tuple("abcdefgh"[: len(images)]), images, net)


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each call (a busy machine stretches the wall clock), by round; the first is dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return {name: values[1:] for name, values in seconds.items()}


def ratio_row(method: str, name: str, rounds: int) -> str:
    """A method beside its forwards: the same number of images in the same batches, through body and head."""
    net, images = network(name), torch.randn(BATCH, 3, 224, 224)
    channels = evidence(net, images).features.shape[1]
    masks, scored = (MASKS, channels) if method == "rise" else (0, min(channels, MASKS))
    copies = evidence(net, images).copies(images)

    def plain() -> None:
        evidence(net, images)
        count = masks or scored
        for start in range(0, count, copies):
            net(stacked[: BATCH * min(copies, count - start)])

    stacked = torch.randn(BATCH * copies, 3, 224, 224)

    def ours() -> Tensor:
        e = evidence(net, images)
        limited = Evidence(e.features, e.head, e.target, e.image_ids, images, net, score_channels=scored)
        return CAMS.get(method).fn(limited)

    found = in_turns({"forwards": plain, "method": ours}, rounds)
    ratios = [m / f for m, f in zip(found["method"], found["forwards"], strict=True)]
    best = min(found["method"]) / min(found["forwards"])
    ms = [1e3 * statistics.median(found[k]) / BATCH for k in ("forwards", "method")]
    return (
        f"| {CAMS.get(method).title} | {name} | {masks or scored} | {ms[0]:.0f} | {ms[1]:.0f} "
        f"| {statistics.median(ratios):.3f} | {best:.3f} | ≤ 1.05 |"
    )


def peak(channels: int) -> str:
    """Peak resident memory in MiB of Score-CAM with that many channels, in a process of its own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import method_ratios as m; import torch\n"
        "torch.set_num_threads(1); torch.set_grad_enabled(False); net = m.network('slim_resnet')\n"
        "e = m.evidence(net, torch.randn(4, 3, 224, 224)); x = e.features, e.head, e.target, e.image_ids, e.images\n"
        "m.CAMS.get('scorecam').fn(m.Evidence(*x, net, score_channels=int(sys.argv[2])))\n"
        "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(channels)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return out.stdout.strip()


def ablation() -> str:
    """Ablation-CAM of one image on ResNet-50, one forward included; the peer's time grows by the channel."""
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, image = network("resnet50"), torch.randn(1, 3, 224, 224)
    layer = net.get_submodule("body.layer4")
    share = PEER_CHANNELS / 2048

    def peer() -> None:
        with torch.enable_grad(), AblationCAM(net, [layer], batch_size=32, ratio_channels_to_ablate=share) as cam:
            cam(image, [ClassifierOutputTarget(0)])

    found = in_turns({"ours": lambda: CAMS.get("ablationcam").fn(evidence(net, image)), "peer": peer}, 2)
    ours, theirs = (statistics.median(found[k]) for k in ("ours", "peer"))
    return (
        f"Ablation-CAM, ResNet-50, one image: ours, all 2,048 channels, {1e3 * ours:.0f} ms; pytorch-grad-cam "
        f"{importlib.metadata.version('grad-cam')}, {PEER_CHANNELS} of 2,048 channels, {1e3 * theirs:.0f} ms: "
        f"**{theirs / ours:.0f}×** already, about {theirs / ours * 2048 / PEER_CHANNELS:,.0f}× for all channels "
        "(target ≥ 50×)."
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ablation", action="store_true")
    options = parser.parse_args()
    keep_freed_memory()  # as a run does
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    RISE.MASKS = MASKS
    print("# Re-scoring methods on a CPU\n")
    print(f"- date: {datetime.now(UTC).isoformat(timespec='minutes')}")
    print(f"- torch {torch.__version__}, one thread of {os.cpu_count()}, load average {os.getloadavg()[0]:.1f}")
    print(f"- batch of {BATCH} at 224×224; forwards: as many images in the same batches, in turns; processor time")
    print("- masks: a part of RISE's bank, and of the channels where there are more; both sides do the same number\n")
    print("| method | network | masks | forwards, ms/image | method, ms/image | median ratio | fastest | target |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for method in ("rise", "scorecam"):
        for name in NETWORKS:
            print(ratio_row(method, name, options.rounds), flush=True)
    print(f"\nScore-CAM's peak memory: {peak(12)} MiB with 12 channels, {peak(96)} MiB with 96 (slim_resnet).\n")
    if options.ablation:
        print(ablation())


if __name__ == "__main__":
    main()

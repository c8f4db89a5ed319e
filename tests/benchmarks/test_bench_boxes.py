"""Box curves and pixel histograms beside references written from the published rules; one thread."""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cambench.metrics.functional.boxes import BoxPool, level_ious, quantize_levels
from cambench.metrics.functional.localisation import tau_grid
from cambench.metrics.functional.maps import min_max, resize_maps
from cambench.metrics.functional.pixels import pixel_histograms

RULES = Path(__file__).parents[1] / "metrics" / "published_rules.py"
MAPS, REFERENCE_MAPS = 32, 3
GT = np.array([[40, 50, 180, 170]])


def _load_rules() -> Any:
    spec = importlib.util.spec_from_file_location("published_rules_for_benchmarks", RULES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


rules = _load_rules()


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def raw_maps(kind: str) -> torch.Tensor:
    """Raw maps (32,h,h) of one kind; ``relu7`` is what a ReLU map of a 7×7 layer looks like."""
    rng = np.random.default_rng(0)
    side, sigma = {"relu7": (7, 1.2), "relu14": (14, 2.5), "signed14": (14, 2.0), "signed28": (28, 3.5)}[kind]
    maps = np.stack([cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), sigma) for _ in range(MAPS)])
    return torch.from_numpy(np.maximum(maps, 0) if kind.startswith("relu") else maps)


def levels_of(kind: str) -> torch.Tensor:
    """Levels uint8 (32,224,224) of one kind."""
    if kind == "noise":
        rng = np.random.default_rng(0)
        return quantize_levels(torch.from_numpy(np.stack([_smooth_noise(rng) for _ in range(MAPS)])))
    levels = quantize_levels(raw_maps(kind.removesuffix("-filled")))
    return _without_holes(levels) if kind.endswith("-filled") else levels


def _smooth_noise(rng: np.random.Generator) -> NDArray[np.float64]:
    return cv2.GaussianBlur(rng.random((224, 224)), (0, 0), 3)


def _without_holes(levels: torch.Tensor) -> torch.Tensor:
    # Fill the holes of every level: the largest level whose outer contours still cover the pixel.
    filled = levels.numpy().copy()
    for image in filled:
        original = image.copy()
        for level in range(255):
            outer, _ = cv2.findContours((original > level).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cover = cv2.drawContours(np.zeros_like(image), outer, -1, 1, cv2.FILLED)
            np.maximum(image, cover * (level + 1), out=image)
    return torch.from_numpy(filled)


KINDS = ("relu7", "relu14", "signed14", "signed28", "signed14-filled", "noise")


@pytest.mark.parametrize("kind", KINDS)
def test_bench_level_ious(benchmark: Any, kind: str) -> None:
    levels = levels_of(kind)
    benchmark.extra_info["maps"] = MAPS
    benchmark(level_ious, levels, [GT] * MAPS)


@pytest.mark.parametrize("kind", KINDS)
def test_bench_published_rules(benchmark: Any, kind: str) -> None:
    scores = levels_of(kind)[:REFERENCE_MAPS].numpy() / 255.0
    taus = tau_grid("linspace1001").tolist()

    def reference() -> None:
        for score in scores:
            rules.threshold_ious(score, GT, taus, largest_only=False)
            rules.threshold_ious(score, GT, taus, largest_only=True)

    benchmark.extra_info["maps"] = REFERENCE_MAPS
    benchmark.pedantic(reference, rounds=3)


@pytest.mark.parametrize("threads", [1, 2])
def test_bench_box_threads(benchmark: Any, threads: int) -> None:
    levels = levels_of("signed14")
    with BoxPool(threads) as pool:
        pool.submit(levels, [GT] * MAPS).result()
        benchmark.extra_info["maps"] = 8 * MAPS
        benchmark(lambda: wait([pool.submit(levels, [GT] * MAPS) for _ in range(8)]))


@pytest.mark.parametrize("source", ["ours", "numpy"])
def test_bench_pixel_histograms(benchmark: Any, source: str) -> None:
    norm, _ = min_max(resize_maps(raw_maps("signed14"), 224, "bicubic"))
    masks = torch.zeros(MAPS, 224, 224, dtype=torch.uint8)
    masks[:, 50:170, 40:180], masks[:, :10] = 1, 255
    taus = tau_grid("arange1000").numpy()
    benchmark.extra_info["maps"] = MAPS
    if source == "ours":
        benchmark(pixel_histograms, norm, masks, "arange1000")
        return
    pairs = list(zip(norm.numpy(), masks.numpy(), strict=True))
    benchmark(lambda: [rules.numpy_histograms(n, m, taus) for n, m in pairs])


def test_bench_quantize_levels(benchmark: Any) -> None:
    benchmark.extra_info["maps"] = MAPS
    benchmark(quantize_levels, raw_maps("signed14"))

"""Equality with the answers that the published evaluator wrote."""

import numpy as np
import torch

from cambench.metrics.functional.boxes import level_ious, quantize, quantize_levels
from cambench.metrics.functional.localisation import levels_at, tau_grid
from cambench.metrics.functional.maps import min_max, resize_maps
from cambench.metrics.functional.pixels import device_histograms, pixel_histograms, pxap


def test_ious_are_the_published_ones_at_every_threshold(oracle):
    taus = tau_grid("arange1000")
    assert np.array_equal(taus.numpy(), oracle["taus"])
    levels = torch.cat([quantize_levels(m[None]) for m in oracle["maps"]])
    found = level_ious(levels, oracle["boxes"])
    at = levels_at(taus, found.peak)
    for mine, published in ((found.multi, oracle["iou_multi"]), (found.single, oracle["iou_single"])):
        curves = mine.gather(1, at).numpy()
        assert np.array_equal(curves, published)
        for delta in (0.3, 0.5, 0.7):
            assert np.array_equal(curves >= delta, published >= delta)


def test_pxap_is_the_published_one(oracle):
    total = torch.zeros(2, 1002, dtype=torch.int64)
    for low, bits in zip(oracle["maps"], oracle["masks"], strict=False):
        foreground, ignore = np.unpackbits(bits).reshape(2, 224, 224).astype(bool)
        mask = torch.from_numpy(np.where(ignore & ~foreground, 255, foreground).astype(np.uint8))[None]
        norm, _ = min_max(resize_maps(low[None], 224, "bicubic"))
        counted = pixel_histograms(norm, mask, "arange1000")
        assert torch.equal(counted, device_histograms(norm, mask, "arange1000"))
        total += counted[0]
    assert abs(pxap(total) - float(oracle["pxap"])) < 1e-9


def test_degenerate_oracle_maps_are_flagged(oracle):
    kinds = oracle["kind"].tolist()
    flags = [int(min_max(resize_maps(m[None], 224, "bicubic"))[1]) for m in oracle["maps"]]
    assert {k for k, f in zip(kinds, flags, strict=True) if f} == {"flat", "zero"}


def test_half_precision_maps_keep_their_own_values(oracle):
    half = torch.stack([m for m in oracle["maps"] if m.shape == (14, 14)]).half()
    norm, _ = min_max(resize_maps(half, 224, "bicubic"))
    assert norm.dtype == torch.float64
    assert torch.equal(quantize(norm), quantize_levels(half.double()))

"""Pixel histograms against ``np.histogram`` with the published edges; PxAP against the published formula."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_rules import numpy_histograms, numpy_pxap

from cambench.metrics.functional.localisation import tau_grid
from cambench.metrics.functional.pixels import (
    bin_count,
    check_histograms,
    device_histograms,
    pixel_histograms,
    pxap,
    pxaps,
)

GRIDS = ("arange1000", "linspace1001")


def edge_scores(grid):
    """Every edge, and the floats just below and above it."""
    edges = tau_grid(grid).numpy()
    values = np.concatenate([edges, np.nextafter(edges, -1), np.nextafter(edges, 2), [1.0, np.nextafter(1.0, 0)]])
    values = values[(values >= 0) & (values <= 1)]
    return np.resize(values, (1, 56, 56))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("source", ["edges", "random", "float32", "levels"])
def test_bins_are_exact(grid, source):
    rng = np.random.default_rng(0)
    norm = {
        "edges": edge_scores(grid),
        "random": rng.random((3, 40, 40)),
        "float32": rng.random((3, 40, 40)).astype(np.float32).astype(np.float64),
        "levels": rng.integers(0, 1001, (3, 40, 40)) / 1000,
    }[source]
    masks = rng.choice(np.array([0, 1, 255], np.uint8), norm.shape)
    expected = np.stack([numpy_histograms(n, m, tau_grid(grid).numpy()) for n, m in zip(norm, masks, strict=True)])
    for count in (pixel_histograms, device_histograms):
        found = count(torch.from_numpy(norm), torch.from_numpy(masks), grid)
        assert found.dtype == torch.int64
        assert found.shape == (len(norm), 2, bin_count(grid))
        assert np.array_equal(found.numpy(), expected)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 255])), min_size=1, max_size=30), st.sampled_from(GRIDS)
)
def test_any_pixels(pixels, grid):
    norm = np.array([p[0] for p in pixels])[None, None]
    masks = np.array([p[1] for p in pixels], np.uint8)[None, None]
    found = pixel_histograms(torch.from_numpy(norm), torch.from_numpy(masks), grid)
    assert torch.equal(found, device_histograms(torch.from_numpy(norm), torch.from_numpy(masks), grid))
    assert np.array_equal(found[0].numpy(), numpy_histograms(norm[0], masks[0], tau_grid(grid).numpy()))


def test_pxap_equals_the_published_formula():
    rng = np.random.default_rng(1)
    histograms = rng.integers(0, 50, (4, 2, 1002)) * (rng.random((4, 2, 1002)) < 0.3)
    many = pxaps(torch.from_numpy(histograms))
    for histogram, score in zip(histograms, many, strict=True):
        assert float(score) == pytest.approx(numpy_pxap(histogram), abs=1e-9)
        assert pxap(torch.from_numpy(histogram)) == float(score)


def test_counts_past_float32_are_kept():
    histogram = torch.zeros(2, 1002, dtype=torch.int64)
    histogram[:, 10], histogram[1, 900] = 2**40 + 1, 1
    assert pxap(histogram) == pytest.approx(numpy_pxap(histogram.numpy()), abs=1e-9)


def test_bad_pixels_name_the_image():
    good, mask = torch.rand(2, 4, 4, dtype=torch.float64), torch.zeros(2, 4, 4, dtype=torch.uint8)
    for value in (1.5, -0.1, torch.nan):
        bad = good.clone()
        bad[1, 2, 2] = value
        with pytest.raises(ValueError, match="'b.png'"):
            pixel_histograms(bad, mask, "arange1000", ["a.png", "b.png"])
        marked = device_histograms(bad, mask, "arange1000")
        with pytest.raises(ValueError, match="image 1 of the batch"):
            check_histograms(marked)
        with pytest.raises(ValueError, match="negative"):
            pxap(marked[1])
    mask[0, 0, 0] = 7
    with pytest.raises(ValueError, match=r"image 0 .* \[7\]"):
        pixel_histograms(good, mask, "arange1000")
    with pytest.raises(TypeError, match="float64"):
        pixel_histograms(good.float(), mask, "arange1000")
    with pytest.raises(ValueError, match="both be"):
        pixel_histograms(good, mask[:1], "arange1000")
    with pytest.raises(ValueError, match="arange1000"):
        pixel_histograms(good, mask, "arange")
    with pytest.raises(ValueError, match="foreground"):
        pxap(torch.ones(2, 1002, dtype=torch.int64) * torch.tensor([[1], [0]]))

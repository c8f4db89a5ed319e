"""Sensitivity-n by loops; SSIM and Spearman's correlation against SciPy, window by window."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr, spearmanr

from cambench.metrics.functional.similarity import rank_correlation, structural_similarity
from cambench.metrics.functional.subsets import correlation, sensitivity_n


def random_maps(seed, count=3, side=40):
    return torch.rand(count, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rank_correlation_equals_scipys_with_ties():
    a, b = random_maps(1), random_maps(2)
    for left, right in ((a, b), ((5 * a).round(), (3 * (a + b)).round()), (a, -a), ((a - 0.9).clamp_min(0), b)):
        expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(left, right, strict=True)]
        np.testing.assert_allclose(rank_correlation(left, right), expected, atol=1e-12)
    assert rank_correlation(torch.zeros_like(a), b).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="two stacks"):
        rank_correlation(a, b[:2])


def test_structural_similarity_by_scipys_filter():
    a, b = random_maps(3), random_maps(4)
    b = 0.6 * a + 0.4 * b

    def smooth(x):
        # Truncated at five pixels, as the window of eleven is.
        return gaussian_filter(x, 1.5, truncate=5 / 1.5)

    for x, y, found in zip(a.numpy(), b.numpy(), structural_similarity(a, b), strict=True):
        mx, my = smooth(x), smooth(y)
        vx, vy, vxy = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
        ssim = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        assert found.item() == pytest.approx(ssim[5:-5, 5:-5].mean(), abs=1e-12)
    torch.testing.assert_close(structural_similarity(a, a), torch.ones(3).double())
    with pytest.raises(ValueError, match="R ≥ 11"):
        structural_similarity(a[:, :8, :8], a[:, :8, :8])


def test_structural_similarity_equals_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = random_maps(5), random_maps(6)
    expected = [
        metrics.structural_similarity(
            x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    np.testing.assert_allclose(structural_similarity(a, b), expected, atol=1e-12)


def test_sensitivity_n_by_loops():
    images, maps = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(7)).double(), random_maps(8, 2, 20)
    keys = torch.rand(2, 2, 6, 9, generator=torch.Generator().manual_seed(9))

    def score(x):
        return x.mean((1, 2, 3)).square()

    found = sensitivity_n(score, images, maps, (25.0, 60.0), keys, cell=8)
    for i in range(2):
        values = []
        for size, count in enumerate((2, 5)):
            sums, losses = [], []
            for subset in range(6):
                hidden = images[i].clone()
                total = 0.0
                for square in np.argsort(keys[i, size, subset].numpy())[:count]:
                    at = (
                        slice(8 * (square // 3), 8 * (square // 3) + 8),
                        slice(8 * (square % 3), 8 * (square % 3) + 8),
                    )
                    total += maps[i][at].sum().item()
                    hidden[(slice(None), *at)] = 0
                sums.append(total)
                losses.append((score(images[i : i + 1]) - score(hidden[None])).item())
            values.append(pearsonr(sums, losses).statistic)
        assert found[i].item() == pytest.approx(np.mean(values), abs=1e-10)
    torch.testing.assert_close(sensitivity_n(score, images, 7 * maps, (25.0, 60.0), keys, cell=8), found)
    assert sensitivity_n(score, images, torch.zeros_like(maps), (25.0, 60.0), keys, cell=8).tolist() == [0, 0]
    with pytest.raises(ValueError, match="keys of 9 squares"):
        sensitivity_n(score, images, maps, (25.0, 60.0), keys[..., :4], cell=8)


def test_a_map_that_is_the_loss_is_perfect():
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(7)).double()
    keys = torch.rand(2, 1, 8, 9, generator=torch.Generator().manual_seed(9))
    found = sensitivity_n(lambda x: x.sum((1, 2, 3)), images, images.sum(1), (40.0,), keys, cell=4)
    torch.testing.assert_close(found, torch.ones(2).double())
    assert correlation(torch.ones(3), torch.arange(3.0)).item() == 0

"""ROAD: the imputation against a sparse solution that is built here, pixel by pixel; the curves by loops."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch.nn import functional as F

from cambench.metrics.functional import imputation
from cambench.metrics.functional.imputation import impute
from cambench.metrics.functional.removal import removed, road_curves


def solved(image, missing):
    """Each missing pixel the mean of its neighbours inside the image, 1/6 beside and 1/12 across a corner."""
    height, width = missing.shape
    place = {cell: k for k, cell in enumerate(zip(*np.nonzero(missing), strict=True))}
    matrix, right = lil_matrix((len(place), len(place))), np.zeros((len(place), len(image)))
    for (y, x), k in place.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= near[0] < height and 0 <= near[1] < width):
                    continue
                weight = 1 / 12 if dy and dx else 1 / 6
                matrix[k, k] += weight
                if near in place:
                    matrix[k, place[near]] -= weight
                else:
                    right[k] += weight * image[(slice(None), *near)]
    filled = image.copy()
    for (y, x), values in zip(place, spsolve(matrix.tocsc(), right).reshape(len(place), -1), strict=True):
        filled[:, y, x] = values
    return filled


def drawn(size, seed):
    """Images with detail, and smooth maps whose upper part makes holes of all shapes."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 3, *size, generator=generator, dtype=torch.float64)
    smooth = torch.rand(3, 1, 5, 5, generator=generator, dtype=torch.float64)
    return images, F.interpolate(smooth, size=size, mode="bicubic", align_corners=False)[:, 0]


@pytest.mark.parametrize("size", [(8, 8), (33, 41), (64, 64)])
@pytest.mark.parametrize("percent", [10.0, 50.0, 90.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_imputation_equals_a_sparse_solution(size, percent, dtype):
    """float64 by tensor operations, float32 by the compiled kernel."""
    images, maps = drawn(size, 1)
    missing = removed(maps, percent)
    found = impute(images.to(dtype), missing).double()
    for i in range(3):
        np.testing.assert_allclose(found[i], solved(images[i].numpy(), missing[i].numpy()), atol=1e-3)
    known = ~missing[:, None].expand_as(found)
    assert torch.equal(found[known], images.to(dtype).double()[known])


def test_more_steps_go_to_the_exact_solution(monkeypatch):
    monkeypatch.setattr(imputation, "ITERATIONS", 30)
    images, maps = drawn((48, 48), 2)
    missing = removed(maps, 70.0) | (torch.rand(maps.shape, generator=torch.Generator().manual_seed(0)) < 0.2)
    np.testing.assert_allclose(impute(images, missing)[0], solved(images[0].numpy(), missing[0].numpy()), atol=1e-9)


def test_an_image_is_imputed_alike_in_every_batch_and_whatever_stood_there():
    images, maps = drawn((32, 32), 3)
    missing = removed(maps, 60.0)
    both, alone = impute(images, missing), impute(images[1:2], missing[1:2])
    torch.testing.assert_close(both[1:2], alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(impute(torch.where(missing[:, None], torch.nan, images), missing), both)
    # Affine: the imputation of the normalised image is the normalised imputation.
    torch.testing.assert_close(impute(3 * images - 1, missing), 3 * both - 1, rtol=0, atol=1e-2)
    assert torch.equal(impute(images, torch.zeros_like(missing)), images)
    assert impute(images, torch.ones_like(missing)).isfinite().all()
    assert impute(images[:0], missing[:0]).shape == (0, 3, 32, 32)
    single = images.float()
    torch.testing.assert_close(impute(single[1:2], missing[1:2]), impute(single, missing)[1:2], rtol=0, atol=0)
    five = torch.cat((single, single[:, :2]), 1)
    torch.testing.assert_close(impute(five, missing)[:, 3:], impute(single, missing)[:, :2])
    assert impute(torch.where(missing[:, None], torch.nan, single), missing).isfinite().all()
    assert impute(single, torch.ones_like(missing)).isfinite().all()
    with pytest.raises(ValueError, match="missing bool"):
        impute(images, maps)


def test_ties_go_in_raster_order_and_counts_are_exact():
    flat = torch.zeros(2, 10, 10)
    assert torch.equal(removed(flat, 25.0).flatten(1).nonzero()[:, 1], torch.arange(25).repeat(2))
    assert [int(removed(flat[:1], p).sum()) for p in (10, 33.3, 99)] == [10, 33, 99]


def test_curves_by_loops(monkeypatch):
    monkeypatch.setattr(imputation, "ITERATIONS", 30)
    images, maps = drawn((16, 16), 4)
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    noise, calls = 0.1 * torch.randn_like(images), []

    def score(x):
        calls.append(len(x))
        return torch.einsum("bchw,bchw->b", x, weights)

    found = road_curves(score, images, maps, (20.0, 80.0), noise)
    assert calls == [3, 3]
    for i in range(3):
        order = np.argsort(-maps[i].flatten().numpy(), kind="stable")
        for column, percent in enumerate((20, 80)):
            gone = np.zeros(256, bool)
            gone[order[: 256 * percent // 100]] = True
            gone = gone.reshape(16, 16)
            changed = solved(images[i].numpy(), gone) + noise[i].numpy() * gone
            assert found[i, column].item() == pytest.approx((changed * weights[i].numpy()).sum(), abs=1e-7)
    with pytest.raises(ValueError, match="expected images and noise"):
        road_curves(score, images, maps[:2], (20.0,), noise)
    with pytest.raises(ValueError, match=r"returned \(1,\)"):
        road_curves(lambda x: x.new_zeros(1), images, maps, (20.0,), noise)

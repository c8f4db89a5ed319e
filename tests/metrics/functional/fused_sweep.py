"""Compare the fused box engine with the compiled kernels, bit for bit; run it with TRITON_INTERPRET=1.

Arguments: seed, smallest side, largest side, maps of each kind, pixels a program takes at once, kinds. Prints, as JSON,
the maps that were compared and those that the fused engine itself served; exits with 1 at the first difference.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from map_kinds import KINDS, make_map
from published_rules import random_boxes

from cambench.metrics.functional.boxes import join_boxes, level_ious
from cambench.metrics.functional.device_boxes import run_on_device, truth_on
from cambench.metrics.functional.kernels.fused.fused_curves import fused_curves


def main(seed, low, high, count, block, kinds):
    tally = {"maps": 0, "served": 0}
    for kind in kinds:
        rng = np.random.default_rng([seed, list(KINDS).index(kind)])
        height, width = rng.integers(low, high + 1, 2)
        levels = torch.from_numpy(np.stack([make_map(kind, rng, height, width) for _ in range(count)]))
        boxes = [random_boxes(rng, height, width, int(rng.integers(0, 4))) for _ in levels]
        joined, offsets = join_boxes(boxes, len(levels))
        curves, served = fused_curves(levels, truth_on(joined, offsets, levels.device), block)
        expected = torch.stack(level_ious(levels, boxes, engine="cpu")[:3])
        wrong = ((curves != expected).any(2).any(0) & served).nonzero()[:, 0].tolist()
        assert not wrong, f"{kind} {height}x{width}, seed {seed}: maps {wrong} differ"
        tally["maps"] += count
        tally["served"] += int(served.sum())
    levels = torch.from_numpy(np.stack([make_map(k, rng, 48, 40) for k in ("noise", "constant")]))
    boxes = [np.array([[1, 2, 20, 30]])] * 2
    joined, offsets = join_boxes(boxes, 2)
    expected = level_ious(levels, boxes, engine="cpu")
    mixed = run_on_device(levels, joined, offsets, "triton")
    assert all(torch.equal(a, b) for a, b in zip(mixed, expected, strict=True))
    assert fused_curves(levels, truth_on(joined, offsets, levels.device))[1].tolist() == [False, True]
    print(json.dumps(tally))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:6]), sys.argv[6:] or list(KINDS))

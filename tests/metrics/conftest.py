"""Fixtures of the metric tests; their slow references are plain modules in this folder."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

ORACLE = Path(__file__).parents[3] / "shared" / "oracles" / "wsoleval.npz"


@pytest.fixture(scope="session")
def oracle():
    """Answers of the published evaluator; every map cut to its own side."""
    if not ORACLE.exists():
        pytest.skip("shared/oracles is absent")
    data = dict(np.load(ORACLE))
    sides = (~np.isnan(data["low"][:, 0])).sum(1)
    data["maps"] = [torch.from_numpy(m[:s, :s].copy()) for m, s in zip(data["low"], sides, strict=True)]
    data["boxes"] = [b[:n] for b, n in zip(data["gt_boxes"], data["n_gt"], strict=True)]
    return data

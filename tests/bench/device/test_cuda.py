"""The same run on a CUDA device: scores near those of the CPU, which computes the same maps in another order."""

import numpy as np
import pytest
import torch

from cambench.bench.notebook.runs import run


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_scores_as_one_on_the_cpu(settings):
    settings |= {"triples": ("slim_resnet/{gradcam,layercam,hirescam,center}/softmax",)}
    here = run(**settings).records()
    there = run(**{**settings, "device": "cuda", "out": settings["out"].with_name("cuda")}).records()
    assert here[["triple", "image_id"]].equals(there[["triple", "image_id"]])
    for name in ("y", "o"):
        np.testing.assert_allclose(there[name], here[name], atol=1e-3)

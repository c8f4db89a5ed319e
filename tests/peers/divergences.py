"""What is known of the peers: where they follow another definition, and where the same one looks different."""

from __future__ import annotations

DIVERGES = {
    ("torch-cam", "gradcam++"): (
        "not Eq. 19: its α is divided on a copy (`alpha[idx][mask].div_(…)`), so the division is lost and the weights "
        "are Σ relu(G)³; the lost denominator would sum G³·F cell by cell, where Eq. 19 has G³·ΣF"
    ),
    ("torch-cam", "smoothgradcam++"): (
        "relu of the last noisy sample's gradient where the paper has the mean's; sums D3·F cell by cell; noise of its "
        "own"
    ),
    ("torch-cam", "scorecam"): "normalises a channel before it resizes it to a mask; Algorithm 1 resizes first",
    ("torch-cam", "iscam"): (
        "adds the steps j/n up, to 5.5 times the masked image; normalises a channel before it resizes it"
    ),
    ("torch-cam", "sscam"): "noise of its own, of another draw; normalises a channel before it resizes it",
    ("Captum", "deeplift"): (
        "its contributions do not add up to y(x) − y(x₀) where max pooling follows a ReLU: the hook reads the ReLU's "
        "outgoing multiplier before the pooling's rule has replaced it; here each layer has an input of its own"
    ),
    ("pytorch-grad-cam", "scorecam"): "resizes masks with aligned corners",
    ("pytorch-grad-cam", "eigencam"): (
        "centres each channel before the decomposition, which the paper does not, and leaves the sign to the "
        "linear-algebra library"
    ),
    ("pytorch-grad-cam", "fem"): (
        "weights the channel itself by the share of its cells above μ + 2σ; the paper weights the channel's binary map "
        "by the channel's mean"
    ),
    ("pytorch-grad-cam", "eigengradcam"): (
        "centres each channel before the decomposition, and leaves the sign to the linear-algebra library"
    ),
}
"""(package, our method) -> why its maps are others."""

REMARKS = {
    ("Captum", "gradcam"): "signed: no ReLU unless `relu_attributions=True`; equal after it",
    (
        "pytorch-grad-cam",
        "ablationcam",
    ): "divides the weights by the logit (Eq. 5): the same map for a positive one",
    ("pytorch-grad-cam", "finercam"): "compares the best class with the next three, whatever the target: here the same",
    ("pytorch-grad-cam", "kpcacam"): "through scikit-learn's KernelPCA, an image at a time; float32",
    ("pytorch-grad-cam", "shapleycam"): "with its ReST target, as its documentation asks",
}
"""(package, our method) -> what to know although the maps are the same."""

METRICS = {
    "pytorch-grad-cam": "not divided by Y: the mean of max(0, Y − O); here, as published, of max(0, Y − O)/Y",
    "torch-cam": "raw logits and the masked normalised tensor by default: protocol `torchcam`",
}
"""Package -> what its fidelity scores are."""

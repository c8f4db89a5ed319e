"""Shapley-CAM."""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..evidence import Evidence
from ..method import Identity, register_cam


@register_cam(
    "shapleycam",
    title="Shapley-CAM",
    source="Cai, 2025 (arXiv 2501.06261): gradient and Hessian-vector product of the ReST score",
    identities=(Identity("gradcam", "piecewise_linear", needs="sigmoid"),),
    needs=("features", "head_gradients"),
    cost="1 forward + 2 head backwards",
)
def shapley_cam(e: Evidence) -> Tensor:
    """w_i = mean over the map of (G − ½·H·F)_i, G and H the gradient and Hessian of the score S; (B,N,1,1).

    On the softmax branch S is the paper's ReST, y_k + log softmax(y)_k. On the sigmoid branch, and of binary and
    multi-label networks, classes do not compete, and S is the logit y_k: ReST would be a function of y_k alone, which
    rescales the map, or turns its sign. A piecewise linear head (GAP + linear, MLP of ReLUs) has no curvature there,
    H = 0, and Shapley-CAM is Grad-CAM.
    """
    # The fused attention kernels have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        leaf = e.features.clone().requires_grad_()
        logits = e.head(leaf)
        scores = logits + logits.log_softmax(1) if e.activation == "softmax" and e.branch == "softmax" else logits
        score = scores.gather(1, e.target[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, leaf, create_graph=True)
        product = None
        if gradient.requires_grad:
            (product,) = torch.autograd.grad((gradient * e.features).sum(), leaf, allow_unused=True)
    shapley = gradient.detach() if product is None else gradient.detach() - product / 2
    return shapley.mean((-2, -1), keepdim=True)

"""From a method's weights to a score map: clamp, weighted sum, sign rule.

``M = relu(Σ_i clamp?(w_i)·F_i)``: the clamp is the head's, the sign rule the protocol's, the weights the method's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...float64 import has_float64
from ...protocol import MapRule, Protocol
from ..contracts import HeadSpec
from .evidence import Evidence
from .method import CamMethod


def combine(weights: Tensor, features: Tensor, *, clamp: bool) -> Tensor:
    """Signed map (B,P,Q) = Σ_i w_i·F_i; negative weights are set to zero first where ``clamp``.

    Args:
        weights: (B,N,1,1), or elementwise (B,N,P,Q).
        features: (B,N,P,Q).
        clamp: Evidence only: drop negative weights before they meet the features (Beyond Softmax, §3.3).
    """
    if clamp:
        weights = weights.clamp_min(0)
    if weights.shape[-2:] == (1, 1):
        # Weights in double precision, as some compute them, stand for the same map.
        return torch.einsum("bn,bnpq->bpq", weights[..., 0, 0].to(features), features)
    return (weights * features).sum(1)


def raw_map(method: CamMethod, evidence: Evidence, *, clamp: bool) -> Tensor:
    """Signed map (B,P,Q) of a method, before the protocol's sign rule; masks and finished maps as they are.

    Raises:
        ValueError: The method returned no tensor, or one of another shape than it declares, or on another device.
    """
    out = evidence.made_by(method.fn)
    _check_tensor(method, out, evidence.features.device)
    batch, channels, height, width = evidence.features.shape
    if method.returns == "weights":
        if out.shape not in ((batch, channels, 1, 1), (batch, channels, height, width)):
            raise ValueError(
                f"CAM method {method.name!r} returned weights of shape {tuple(out.shape)}; "
                f"expected {(batch, channels, 1, 1)} or {(batch, channels, height, width)}"
            )
        return combine(out, evidence.features, clamp=clamp)
    if out.ndim != 3 or len(out) != batch or not out.numel():
        raise ValueError(
            f"CAM method {method.name!r} returned a {method.returns} of shape {tuple(out.shape)}; "
            f"expected ({batch}, height, width)"
        )
    return out


def _check_tensor(method: CamMethod, out: object, device: torch.device) -> None:
    said = f"CAM method {method.name!r} returned"
    if not isinstance(out, Tensor):
        raise ValueError(f"{said} a {type(out).__name__}; expected a tensor")
    if out.layout != torch.strided:
        raise ValueError(f"{said} a sparse tensor; expected a dense one (.to_dense() makes it)")
    if out.is_complex():
        raise ValueError(f"{said} complex numbers; expected real ones")
    if not out.is_floating_point():
        raise ValueError(f"{said} a tensor of {out.dtype}; expected floating-point numbers (.float() makes them)")
    # float64 that the features' device lacks is on the CPU.
    if out.device != device and (has_float64(device) or out.device.type != "cpu"):
        raise ValueError(f"{said} a tensor on {out.device}; expected it on {device}, where the features are")


def clamps(method: CamMethod, head: HeadSpec, protocol: Protocol) -> bool:
    """Whether the head's clamp is applied to the method's weights under the protocol."""
    weighted = method.returns == "weights" and not method.headless
    return head.clamp and weighted and method.name not in protocol.clamp_exempt


def apply_sign(raw: Tensor, method: CamMethod, rule: MapRule) -> Tensor:
    """The map under the protocol's sign rule: negative values dropped by ``relu``; masks are never negative."""
    return raw if rule.sign == "signed" or method.returns == "mask" else raw.clamp_min(0)


def score_map(method: CamMethod, evidence: Evidence, head: HeadSpec, protocol: Protocol) -> Tensor:
    """Score map (B,P,Q) of a method under a head and a protocol, at the resolution of the feature map.

    ``evidence`` must be that of the head's branch.
    """
    raw = raw_map(method, evidence, clamp=clamps(method, head, protocol))
    return apply_sign(raw, method, protocol.rule_for(method.name))

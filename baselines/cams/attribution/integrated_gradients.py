"""Integrated Gradients."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .captum_calls import attribute, sum_of_colours

STEPS = 50
"""Points of the Gauss-Legendre quadrature (Captum's default)."""


@register_cam(
    "ig",
    title="Integrated Gradients",
    source=f"Sundararajan et al., ICML 2017; {STEPS} steps from the mean colour; through Captum",
    needs=("images", "input_gradients"),
    returns="map",
    cost=f"{STEPS} forwards + {STEPS} backwards",
    expensive=True,
    requires="captum",
)
def integrated_gradients(e: Evidence) -> Tensor:
    """M = Σ over colours of x·∫₀¹ ∂y/∂x(t·x) dt, y the head's target logit; signed, (B,R,R).

    The baseline is zero in the normalised image, the mean colour. Completeness: ΣM = y(x) − y(0), up to the
    quadrature's error, on any network.
    """
    return sum_of_colours(
        attribute("IntegratedGradients", e, n_steps=STEPS, internal_batch_size=len(e.images)).to(e.images.dtype)
    )

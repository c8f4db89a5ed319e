"""CAM: plain training."""

from .wsol_method import WsolMethod, register_wsol


@register_wsol("cam", title="CAM", source="Zhou et al., CVPR 2016")
class PlainTraining(WsolMethod):
    """Cross entropy of a network with GAP + linear head; changes nothing else."""

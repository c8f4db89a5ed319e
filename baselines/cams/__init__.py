"""CAM methods, one small file each in the folder of its family; the registry finds them there."""

from .cards import Card, built_in_cards, method_card
from .cost import Cost, CostError
from .evidence import CHUNK_BYTES, Evidence, copies_in
from .identities import MapKey, canonical, supports
from .method import CAMS, CamMethod, Identity, register_cam
from .score_map import apply_sign, clamps, raw_map

__all__ = [
    "CAMS",
    "CHUNK_BYTES",
    "CamMethod",
    "Card",
    "Cost",
    "CostError",
    "Evidence",
    "Identity",
    "MapKey",
    "apply_sign",
    "built_in_cards",
    "canonical",
    "clamps",
    "copies_in",
    "method_card",
    "raw_map",
    "register_cam",
    "supports",
]

"""Ways of training a network for weakly supervised localisation, one small file each, in the order of the tables."""

# ruff: noqa: I001
from .plain_training import PlainTraining
from .hide_and_seek import HideAndSeek
from .acol import Acol, acol_map
from .spg import Spg
from .adl import Adl
from .cutmix import CutMix
from .new_layers import class_map, classifier_of, fresh
from .suffix import PLAIN, TAP, apply_method, apply_tap, spec_with, split_name
from .wsol_method import WSOL, WsolError, WsolMethod, make_method, register_wsol

__all__ = [
    "PLAIN",
    "TAP",
    "WSOL",
    "Acol",
    "Adl",
    "CutMix",
    "HideAndSeek",
    "PlainTraining",
    "Spg",
    "WsolError",
    "WsolMethod",
    "acol_map",
    "apply_method",
    "apply_tap",
    "class_map",
    "classifier_of",
    "fresh",
    "make_method",
    "register_wsol",
    "spec_with",
    "split_name",
]

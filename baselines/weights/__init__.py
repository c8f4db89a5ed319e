"""Weights of the embedded networks (safetensors), read through ``importlib.resources``."""

from .weight_files import WeightsError, apply_state, load_metadata, load_state, save_state, weights_digest

__all__ = ["WeightsError", "apply_state", "load_metadata", "load_state", "save_state", "weights_digest"]

"""Weights of the embedded networks (safetensors), read through ``importlib.resources``."""

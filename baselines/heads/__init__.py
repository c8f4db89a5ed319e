"""Heads: everything after the target feature map."""

"""Backbones, each with its target layer and heads."""

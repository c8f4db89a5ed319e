"""CAM methods, one small file each, in the order of the tables: methods first, controls last."""

# ruff: noqa: I001
from .cam import cam
from .grad_cam import grad_cam
from .grad_cam_pp import grad_cam_pp
from .x_grad_cam import x_grad_cam
from .layer_cam import layer_cam
from .random_map import random_map
from .center import center
from .uniform import uniform

__all__ = ["cam", "center", "grad_cam", "grad_cam_pp", "layer_cam", "random_map", "uniform", "x_grad_cam"]

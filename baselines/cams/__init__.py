"""CAM methods, one small file each."""

from .cam import cam
from .center import center
from .grad_cam import grad_cam
from .grad_cam_pp import grad_cam_pp
from .layer_cam import layer_cam
from .random_map import random_map
from .uniform import uniform
from .x_grad_cam import x_grad_cam

__all__ = ["cam", "center", "grad_cam", "grad_cam_pp", "layer_cam", "random_map", "uniform", "x_grad_cam"]

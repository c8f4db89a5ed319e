"""CAM methods, one small file each, in the order of the tables: methods first, controls last."""

# ruff: noqa: I001
from .cam import cam
from .grad_cam import grad_cam
from .grad_cam_pp import grad_cam_pp
from .x_grad_cam import x_grad_cam
from .layer_cam import layer_cam
from .hires_cam import hires_cam
from .finer_cam import finer_cam
from .shapley_cam import shapley_cam
from .eigen_cam import eigen_cam
from .eigen_grad_cam import eigen_grad_cam
from .smooth_grad_cam_pp import smooth_grad_cam_pp
from .ablation_cam import ablation_cam
from .score_cam import score_cam
from .is_cam import is_cam
from .ss_cam import ss_cam
from .rise import rise
from .extremal import extremal
from .occlusion import occlusion
from .saliency import saliency
from .smoothgrad import smoothgrad
from .integrated_gradients import integrated_gradients
from .deep_lift import deep_lift
from .lrp import lrp
from .guided_backprop import guided_backprop
from .layer_cam_fused import layer_cam_fused
from .full_grad import full_grad
from .rollout import rollout
from .ts_cam import ts_cam
from .random_map import random_map
from .center import center
from .uniform import uniform

__all__ = [
    "ablation_cam",
    "cam",
    "center",
    "deep_lift",
    "eigen_cam",
    "eigen_grad_cam",
    "extremal",
    "finer_cam",
    "full_grad",
    "grad_cam",
    "grad_cam_pp",
    "guided_backprop",
    "hires_cam",
    "integrated_gradients",
    "is_cam",
    "layer_cam",
    "layer_cam_fused",
    "lrp",
    "occlusion",
    "random_map",
    "rise",
    "rollout",
    "saliency",
    "score_cam",
    "shapley_cam",
    "smooth_grad_cam_pp",
    "smoothgrad",
    "ss_cam",
    "ts_cam",
    "uniform",
    "x_grad_cam",
]

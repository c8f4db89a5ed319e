"""CAM methods, one small file each, in the order of the tables: methods first, controls last."""

# ruff: noqa: I001
from .gradient.cam import cam
from .gradient.grad_cam import grad_cam
from .gradient.grad_cam_pp import grad_cam_pp
from .gradient.x_grad_cam import x_grad_cam
from .gradient.layer_cam import layer_cam
from .gradient.hires_cam import hires_cam
from .gradient.finer_cam import finer_cam
from .gradient.shapley_cam import shapley_cam
from .gradient.eigen_cam import eigen_cam
from .gradient.eigen_grad_cam import eigen_grad_cam
from .gradient.kpca_cam import kpca_cam
from .gradient.fem import fem
from .gradient.bag_cams import bag_cams
from .gradient.smooth_grad_cam_pp import smooth_grad_cam_pp
from .rescoring.ablation_cam import ablation_cam
from .rescoring.score_cam import score_cam
from .rescoring.is_cam import is_cam
from .rescoring.ss_cam import ss_cam
from .rescoring.rise import rise
from .rescoring.extremal import extremal
from .rescoring.occlusion import occlusion
from .rescoring.recipro_cam import recipro_cam
from .rescoring.vit_recipro_cam import vit_recipro_cam
from .rescoring.opti_cam import opti_cam
from .attribution.saliency import saliency
from .attribution.smoothgrad import smoothgrad
from .attribution.integrated_gradients import integrated_gradients
from .attribution.deep_lift import deep_lift
from .attribution.lrp import lrp
from .attribution.guided_backprop import guided_backprop
from .attribution.lift_cam import lift_cam
from .gradient.layer_cam_fused import layer_cam_fused
from .gradient.zoom_cam import zoom_cam
from .gradient.full_grad import full_grad
from .attention.rollout import rollout
from .attention.ts_cam import ts_cam
from .attention.le_grad import le_grad
from .attention.transformer_attribution import transformer_attribution
from .trained.acol_own_map import acol_own_map
from .trained.spg_own_map import spg_own_map
from .controls.random_map import random_map
from .controls.center import center
from .controls.uniform import uniform
from .cards import Card, built_in_cards, method_card
from .cost import Cost, CostError
from .evidence import CHUNK_BYTES, Evidence
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
    "ablation_cam",
    "acol_own_map",
    "apply_sign",
    "bag_cams",
    "built_in_cards",
    "cam",
    "canonical",
    "center",
    "clamps",
    "deep_lift",
    "eigen_cam",
    "eigen_grad_cam",
    "extremal",
    "fem",
    "finer_cam",
    "full_grad",
    "grad_cam",
    "grad_cam_pp",
    "guided_backprop",
    "hires_cam",
    "integrated_gradients",
    "is_cam",
    "kpca_cam",
    "layer_cam",
    "layer_cam_fused",
    "le_grad",
    "lift_cam",
    "lrp",
    "method_card",
    "occlusion",
    "opti_cam",
    "random_map",
    "raw_map",
    "recipro_cam",
    "register_cam",
    "rise",
    "rollout",
    "saliency",
    "score_cam",
    "shapley_cam",
    "smooth_grad_cam_pp",
    "smoothgrad",
    "spg_own_map",
    "ss_cam",
    "supports",
    "transformer_attribution",
    "ts_cam",
    "uniform",
    "vit_recipro_cam",
    "x_grad_cam",
    "zoom_cam",
]

"""The built-in metrics, in table order."""

from __future__ import annotations

from . import builtin as per_image
from .spec import MetricSpec, register_metric

PERCENT = "%"
CHOE = "Choe et al., CVPR 2020"
CHATTOPADHYAY = "Chattopadhay et al., Grad-CAM++, WACV 2018"
RISE = "Petsiuk et al., RISE, BMVC 2018"
ROAD = "Rong et al., ICML 2022; mean class score over the protocol's shares"
ADEBAYO = "Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018"
SIXT = "Sixt et al., When Explanations Lie, ICML 2020"

for _spec in (
    MetricSpec(
        "top1_cls", "Top-1 Cls", True, PERCENT, "softmax branch's argmax", "classification", ("labels",), "Top1Cls"
    ),
    MetricSpec(
        "top1_loc", "Top-1 Loc", True, PERCENT, "Russakovsky et al., IJCV 2015", "localisation", ("boxes", "labels"),
        "Top1Loc",
    ),
    MetricSpec(
        "gt_known_loc", "GT-known Loc", True, PERCENT, "Singh & Lee, ICCV 2017", "localisation", ("boxes",),
        "GTKnownLoc",
    ),
    MetricSpec("max_box_acc", "MaxBoxAcc", True, PERCENT, CHOE, "localisation", ("boxes",), "MaxBoxAcc"),
    MetricSpec(
        "max_box_acc_v2", "MaxBoxAccV2", True, PERCENT, "Choe et al., TPAMI 2022", "localisation", ("boxes",),
        "MaxBoxAccV2",
    ),
    MetricSpec(
        "top5_cls", "Top-5 Cls", True, PERCENT, "Russakovsky et al., IJCV 2015", "classification", ("labels",),
        "Top5Cls", per_image.top5_cls, named=True,
    ),
    MetricSpec(
        "top5_loc", "Top-5 Loc", True, PERCENT, "Russakovsky et al., IJCV 2015; one map an image", "localisation",
        ("boxes", "labels"), "Top5Loc", named=True, made_from="top5_cls",
    ),
    MetricSpec(
        "piou", "pIoU", True, PERCENT, "Zhang et al., Self-Enhancement Maps, 2020", "pixels", ("masks",), "PIoU",
        named=True,
    ),
    MetricSpec("pxap", "PxAP", True, PERCENT, CHOE, "pixels", ("masks",), "PxAP"),
    MetricSpec("average_drop", "Average Drop", False, PERCENT, CHATTOPADHYAY, "fidelity", ("scores",), "AverageDrop"),
    MetricSpec(
        "increase_in_confidence", "Increase in Confidence", True, PERCENT, CHATTOPADHYAY, "fidelity", ("scores",),
        "IncreaseInConfidence",
    ),
    MetricSpec(
        "average_gain", "Average Gain", True, PERCENT, "Zhang et al., Opti-CAM, CVIU 2024", "fidelity", ("scores",),
        "AverageGain",
    ),
    MetricSpec(
        "evidence_precision", "Evidence precision", True, PERCENT, "share of the positive map on the known evidence",
        "fidelity", ("evidence",), "EvidencePrecision",
    ),
    MetricSpec(
        "insertion", "Insertion AUC", True, PERCENT, RISE, "fidelity", ("forwards",), "Insertion",
        per_image.insertion, expensive=True,
    ),
    MetricSpec(
        "deletion", "Deletion AUC", False, PERCENT, RISE, "fidelity", ("forwards",), "Deletion",
        per_image.deletion, expensive=True,
    ),
    MetricSpec(
        "road_morf", "ROAD MoRF", False, PERCENT, ROAD, "fidelity", ("forwards",), "RoadMoRF", per_image.road_morf,
        expensive=True,
    ),
    MetricSpec(
        "road_lerf", "ROAD LeRF", True, PERCENT, ROAD, "fidelity", ("forwards",), "RoadLeRF", per_image.road_lerf,
        expensive=True,
    ),
    MetricSpec(
        "road", "ROAD combined", True, PERCENT, f"{ROAD}; (LeRF − MoRF)/2 as in pytorch-grad-cam", "fidelity",
        ("forwards",), "Road", per_image.road, expensive=True,
    ),
    MetricSpec(
        "sensitivity_n", "Sensitivity-n", True, "", "Ancona et al., ICLR 2018; on squares, mean over n", "fidelity",
        ("forwards",), "SensitivityN", per_image.sensitivity_n, expensive=True, digits=3,
    ),
    MetricSpec(
        "weight_randomisation_ssim", "Weight rand. (SSIM)", False, "", f"{ADEBAYO}: cascading", "fidelity",
        ("forwards",), "MapSSIM", per_image.weight_randomisation_ssim, expensive=True, digits=3,
    ),
    MetricSpec(
        "weight_randomisation_rank", "Weight rand. (rank)", False, "", f"{ADEBAYO}: cascading", "fidelity",
        ("forwards",), "MapRankCorrelation", per_image.weight_randomisation_rank, expensive=True, digits=3,
    ),
    MetricSpec(
        "logit_randomisation_ssim", "Logit rand. (SSIM)", False, "", SIXT, "fidelity", ("forwards",), "MapSSIM",
        per_image.logit_randomisation_ssim, expensive=True, digits=3,
    ),
    MetricSpec(
        "logit_randomisation_rank", "Logit rand. (rank)", False, "", SIXT, "fidelity", ("forwards",),
        "MapRankCorrelation", per_image.logit_randomisation_rank, expensive=True, digits=3,
    ),
    MetricSpec(
        "pointing_game", "Pointing game", True, PERCENT, "Zhang et al., Excitation Backprop, ECCV 2016", "localisation",
        ("boxes",), "PointingGame", per_image.pointing_game,
    ),
    MetricSpec(
        "mask_pointing_game", "Pointing game, mask", True, PERCENT, "Zhang et al., Excitation Backprop, ECCV 2016",
        "pixels", ("masks",), "PointingGame", per_image.mask_pointing_game, named=True,
    ),
    MetricSpec(
        "energy_pointing_game", "Energy pointing game", True, PERCENT, "Wang et al., Score-CAM, CVPRW 2020",
        "localisation", ("boxes",), "EnergyPointingGame", per_image.energy_pointing_game,
    ),
):  # fmt: skip
    register_metric(_spec, origin=__name__)

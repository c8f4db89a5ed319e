"""The built-in metrics, in table order."""

from __future__ import annotations

from . import builtin as per_image
from .spec import MetricSpec, register_metric

PERCENT = "%"
CHOE = "Choe et al., CVPR 2020"
CHATTOPADHYAY = "Chattopadhay et al., Grad-CAM++, WACV 2018"
RISE = "Petsiuk et al., RISE, BMVC 2018"

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
        "pointing_game", "Pointing game", True, PERCENT, "Zhang et al., Excitation Backprop, ECCV 2016", "localisation",
        ("boxes",), "PointingGame", per_image.pointing_game,
    ),
    MetricSpec(
        "energy_pointing_game", "Energy pointing game", True, PERCENT, "Wang et al., Score-CAM, CVPRW 2020",
        "localisation", ("boxes",), "EnergyPointingGame", per_image.energy_pointing_game,
    ),
):  # fmt: skip
    register_metric(_spec, origin=__name__)

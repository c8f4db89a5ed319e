"""Protocol: frozen, named, hashed over everything but the name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cambench.protocol import PROTOCOLS, Protocol

paper = PROTOCOLS.get("paper")
DIGESTS = {
    "paper": "0f1274575c93980d",
    "beyond-softmax-code": "d928ec43459f5c88",
    "wsoleval": "dd85b413a54a8f73",
    "torchcam": "1ea920e8e3d7bf56",
}
"""As of release 0.1, in the manifests of the runs of that time."""


def test_the_named_protocols():
    # A factorial registers its cells' protocols behind them.
    named = list(PROTOCOLS)[:6]
    assert named == ["paper", "beyond-softmax-code", "wsoleval", "torchcam", "ivr", "rethinking-cam"]
    assert len({PROTOCOLS.get(n).digest for n in named}) == 6


def test_fields_that_came_later_leave_the_digests_as_they_were():
    digests = {n: PROTOCOLS.get(n).digest for n in ("paper", "beyond-softmax-code", "wsoleval", "torchcam")}
    assert digests == DIGESTS
    later = {"loc_reference": "percentile", "no_contour": "whole"}
    changed = [paper.model_copy(update={name: value}).digest for name, value in later.items()]
    rule = paper.map_rule.model_copy(update={"normalisation": "pas"})
    changed += [paper.model_copy(update={"map_rule": rule}).digest]
    assert len({paper.digest, *changed}) == 4


@pytest.mark.parametrize("how", ["minmax", "ivr", "ivr(100)", "ivr(-3)", "max "])
def test_an_unknown_normalisation_is_refused(how):
    with pytest.raises(ValidationError, match="normalisation"):
        Protocol(name="x", map_rule={"normalisation": how})


def test_frozen_and_closed():
    with pytest.raises(ValidationError, match="frozen"):
        paper.size = 100
    with pytest.raises(ValidationError, match="Extra inputs"):
        Protocol(name="x", thresholds=3)


def test_the_digest_ignores_the_name_and_nothing_else():
    assert paper.model_copy(update={"name": "other"}).digest == paper.digest
    changes = {
        "version": 2, "target": "label", "size": 448, "tau_grid": "linspace1001", "loc_iou": 0.7, "loc_tau": 0.3,
        "loc_threshold": "oracle", "gt_boxes": "first", "iou_thresholds": (0.5,), "fidelity_score": "logit",
        "fidelity_space": "normalised", "fidelity_kernel": "bicubic", "fidelity_min_max": "full_res",
        "clamp_exempt": ("layercam",),
    }  # fmt: skip
    digests = {paper.model_copy(update={k: v}).digest for k, v in changes.items()}
    assert len(digests) == len(changes)
    assert paper.digest not in digests


def test_a_saved_protocol_keeps_its_digest():
    for name in PROTOCOLS:
        protocol = PROTOCOLS.get(name)
        assert Protocol.model_validate_json(protocol.model_dump_json()).digest == protocol.digest


def test_differences_name_the_fields():
    assert paper.differences(PROTOCOLS.get("torchcam"))["fidelity_score"] == ("softmax", "logit")
    assert paper.differences(paper) == {}


def test_rules_per_method():
    code = PROTOCOLS.get("beyond-softmax-code")
    assert code.rule_for("cam").sign == "signed"
    assert code.rule_for("gradcam").kernel == "bilinear"


@given(st.floats(allow_nan=True).filter(lambda t: not 0 < t <= 1))
def test_iou_thresholds_are_fractions(threshold):
    with pytest.raises(ValidationError, match="fractions"):
        Protocol(name="x", iou_thresholds=(threshold,))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loc_percentile": 0}, "greater than 0"),
        ({"loc_percentile": 100.5}, "less than or equal to 100"),
        ({"crop_from": 200}, "crop_from 200 must be size 224 or larger"),
        ({"crop_from": 255}, "by an even number, so that the crop has a centre"),
    ],
)
def test_values_out_of_range_are_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        Protocol(name="x", **fields)

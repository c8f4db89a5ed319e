"""Protocol: frozen, named, hashed over everything but the name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cambench.protocol import PROTOCOLS, Protocol

paper = PROTOCOLS.get("paper")


def test_the_named_protocols():
    # A factorial registers its cells' protocols behind them.
    named = list(PROTOCOLS)[:4]
    assert named == ["paper", "beyond-softmax-code", "wsoleval", "torchcam"]
    assert len({PROTOCOLS.get(n).digest for n in named}) == 4


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

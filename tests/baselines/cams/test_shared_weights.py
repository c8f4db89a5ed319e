"""Channel weights that several heads of a branch share are computed once, and give the same maps."""

import torch

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.gradient.grad_cam_pp import EPS, grad_cam_pp
from cambench.baselines.cams.method import CamMethod
from cambench.baselines.cams.score_map import raw_map
from cambench.baselines.heads.heads import GapLinear, MlpHead


def evidence(head):
    torch.manual_seed(0)
    features = torch.randn(3, 6, 14, 14).relu()
    return Evidence(features, head, torch.tensor([0, 2, 1]), ("a", "b", "c"), torch.zeros(3, 3, 8, 8))


def test_what_is_kept_is_computed_once_and_belongs_to_these_images():
    calls = []

    def counted(e):
        calls.append(e)
        return e.class_weights

    method, e = CamMethod("counted", counted, "Counted", "a test"), evidence(GapLinear(6, 3))
    right = raw_map(method, e, clamp=True)
    e.keep(counted)
    assert torch.equal(raw_map(method, e, clamp=True), right)
    assert not torch.equal(raw_map(method, e, clamp=False), right)
    assert len(calls) == 2
    raw_map(method, e.at(e.images + 1), clamp=True)
    assert len(calls) == 3, "other images are computed anew"
    e.forget(counted)
    raw_map(method, e, clamp=True)
    assert len(calls) == 4


def test_grad_cam_pp_is_its_formula_to_the_bit_on_both_kinds_of_heads():
    for head in (GapLinear(6, 3), MlpHead(6, 3, hidden=(5,), pool=7)):
        e = evidence(head.eval())
        g, total = e.gradients.contiguous(), e.features.sum((-2, -1), keepdim=True)
        squared = g.square()
        alpha = squared / (2 * squared + total * squared * g + EPS)
        right = torch.where(g > 0, g * alpha, 0).sum((-2, -1), keepdim=True)
        assert torch.equal(grad_cam_pp(e), right)

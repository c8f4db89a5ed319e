from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cambench.bench.training.steps.loss import balanced_bce, branch_loss


def direct(logits, labels):
    """Eq. 12 as it is printed, from probabilities, one term at a time, with 50 digits."""
    with localcontext() as context:
        context.prec = 50
        total = Decimal(0)
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            scores, classes = [1 / (1 + (-Decimal(z)).exp()) for z in row], len(row)
            inner = sum((1 - s).ln() for k, s in enumerate(scores) if k != label)
            total -= (1 - 1 / Decimal(classes)) * scores[label].ln() + inner / classes
        return float(total / len(labels))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(2, 9), st.integers(0, 10_000))
def test_equals_the_printed_equation(batch, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, dtype=torch.float64, generator=generator) * 4
    labels = torch.randint(classes, (batch,), generator=generator)
    assert float(balanced_bce(logits, labels)) == pytest.approx(direct(logits, labels), rel=1e-12)


def test_equals_torch_bce_with_positive_weight():
    logits, labels = torch.randn(7, 5), torch.randint(5, (7,))
    reference = torch.nn.BCEWithLogitsLoss(pos_weight=torch.full((5,), 4.0))(
        logits, torch.nn.functional.one_hot(labels, 5).float()
    )
    assert torch.equal(balanced_bce(logits, labels), reference)


def test_gradient_is_that_of_the_equation():
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 5, 2, 2])
    (gradient,) = torch.autograd.grad(balanced_bce(logits, labels), logits)
    scores = torch.sigmoid(logits.detach())
    expected = scores / 6
    rows = torch.arange(4)
    expected[rows, labels] = -(1 - 1 / 6) * (1 - scores[rows, labels])
    torch.testing.assert_close(gradient, expected / 4)


def test_finite_where_the_sigmoid_saturates():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = balanced_bce(logits, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx(200.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.tensor([[0.25, -0.25], [-0.25, 0.25]]))


def test_softmax_branch_has_cross_entropy():
    logits, labels = torch.randn(3, 4), torch.tensor([0, 1, 3])
    assert torch.equal(branch_loss("softmax", logits, labels), torch.nn.functional.cross_entropy(logits, labels))
    assert torch.equal(branch_loss("sigmoid", logits, labels), balanced_bce(logits, labels))


@pytest.mark.parametrize(("shape", "labels"), [((3, 1), (3,)), ((3, 4), (2,)), ((12,), (12,))])
def test_refuses_what_it_cannot_mean(shape, labels):
    with pytest.raises(ValueError, match=r"expected logits|at least two"):
        balanced_bce(torch.zeros(shape), torch.zeros(labels, dtype=torch.int64))

"""Shift sensitivity of the four heads of one network and CAM method, over a batch of images.

*Shift sensitivity*: mean over images and pixels of |M̃' − M̃|, the change of the normalised map (0 to 1), per σ_W of
a shift that changes no softmax probability; σ_W is the standard deviation of the deciding classifier's weights. The
shift is made in the parameters that decide the class (the softmax branch). A softmax head draws its map from those; a
sigmoid head draws it from a clone with parameters of its own, which the shift does not touch: only the predicted class,
which stays, could change its map. The same shift of the clone's own parameters is measured beside it; it changes the
sigmoid scores, so it is no symmetry of that branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ...baselines.cams import CamMethod
from ...baselines.contracts import HEADS, Backbone, Branch, Head, HeadSpec
from ...progress import progress
from ...protocol import Protocol
from ...results.statistics import RESAMPLES, Interval, bootstrap_interval
from ..host.errors import RunError
from .distortion import all_channels, classifier_inputs, classifier_of, distort, one_channel, weight_unit

Equation = Literal["Eq. 9", "Eq. 10"]
EQUATIONS: tuple[Equation, ...] = ("Eq. 9", "Eq. 10")
MEASURED_HEADS = ("softmax", "softmax_clamped", "sigmoid", "sigmoid_signed")
SHIFTED: tuple[Branch, ...] = ("softmax", "sigmoid")
TOLERANCE = 1e-6
"""Softmax probabilities may move by this much under a shift; more is an error."""
BUDGET = 256 << 20
"""Bytes of shifted features, and of shifted classifiers, that are held at a time; it changes no result."""


@dataclass(frozen=True)
class Curve:
    """How far the maps of one head move as a shift grows.

    Attributes:
        head: Name. equation: Eq. 9 at one channel, or Eq. 10. shifted: The branch whose parameters are shifted.
        channel: Of Eq. 9. deltas: δ or Δ in σ_W. change: Mean |M̃' − M̃| per image (D,B).
        probability: Largest change (D,) of a softmax probability.
        score: Largest change (D,) of a sigmoid score; None for softmax heads.
    """

    head: str
    equation: Equation
    shifted: Branch
    channel: int | None
    deltas: tuple[float, ...]
    change: Tensor
    probability: Tensor
    score: Tensor | None

    def interval(self, at: int) -> Interval:
        """95 % bootstrap interval over images of the mean change at the shift ``deltas[at]``."""
        return mean_interval(self.change[at])


@dataclass(frozen=True)
class Rate:
    """Shift sensitivity of one head: mean change of the normalised map per σ_W, in percent of its range."""

    head: str
    equation: Equation
    shifted: Branch
    percent: float
    interval: Interval
    probability: float
    score: float | None


@dataclass(frozen=True)
class Sensitivity:
    """A whole measurement. ``unit``: σ_W; ``channels``: of the softmax branch, measured with Eq. 9; ``channel``: drawn.

    The clone of an MLP has hidden units of its own, so its own channels are chosen by the same rule.
    """

    unit: float
    channels: tuple[int, ...]
    channel: int
    images: int
    rates: list[Rate]
    curves: list[Curve]


def measure_sensitivity(
    network: Backbone,
    features: Tensor,
    labels: Tensor,
    method: CamMethod,
    protocol: Protocol,
    *,
    channels: int,
    deltas: Sequence[float],
    collapse: Sequence[float],
) -> Sensitivity:
    """Measure every head.

    Args:
        network: Frozen, with both branches. features: (B,N,P,Q). labels: (B,). method: CAM method.
        protocol: Target, sign, resize, size. channels: Eq. 9 is averaged over this many channels, those of the largest
            mean classifier input (0: all); the one whose shift moves the softmax map most is the one of the curves.
        deltas: δ of Eq. 9 in σ_W for the curves. collapse: Δ of Eq. 10 in σ_W.

    Raises:
        RunError: A softmax probability moved by more than 1e-6: the head is not linear after its classifier.
        UsageError: A method or head that cannot be measured (``distort``).
    """
    deciding = network.head("softmax")
    unit, inputs = weight_unit(deciding), classifier_of(deciding).weight.shape[1]
    strongest = {b: _strongest(network.head(b), features, channels or inputs) for b in SHIFTED}
    drawn = {b: int(found[0]) for b, found in strongest.items()}
    measured = [(HEADS.get(h), b) for h in MEASURED_HEADS for b in _branches(HEADS.get(h))]
    rates, curves = list[Rate](), list[Curve]()
    with progress("shift sensitivity", len(measured), "heads") as bar:
        for head, branch in measured:

            def changes(shifts: Tensor, head: HeadSpec = head, branch: Branch = branch) -> _Changes:
                there = shifts.to(features.device)
                return _changes(network, features, labels, there, method, head, protocol, branch)

            new = branch not in {r.shifted for r in rates}
            one, unit_of = strongest[branch], torch.tensor([unit])
            for equation, shifts in zip(
                EQUATIONS, (one_channel(one, unit_of, inputs), all_channels(unit_of, inputs)), strict=True
            ):
                found = changes(shifts)
                if new and equation == EQUATIONS[0]:
                    drawn[branch] = int(one[int(found.change.mean(1).argmax())])
                    if branch != "softmax" and torch.equal(one, strongest["softmax"]):
                        drawn[branch] = drawn["softmax"]
                rates.append(_rate(head, equation, branch, found))
            at = drawn[branch]
            for equation, values, shifts in (
                (EQUATIONS[0], deltas, one_channel(torch.tensor([at]), torch.tensor(deltas) * unit, inputs)),
                (EQUATIONS[1], collapse, all_channels(torch.tensor(collapse) * unit, inputs)),
            ):
                found = changes(shifts)
                channel = at if equation == EQUATIONS[0] else None
                figures = (found.change, found.probability, found.score)
                curves.append(Curve(head.name, equation, branch, channel, tuple(values), *figures))
            bar.advance(1)
    worst = max(float(c.probability.max()) for c in curves)
    worst = max(worst, *(r.probability for r in rates))
    if worst > TOLERANCE:
        raise RunError(
            f"{network.name}: a shift moved a softmax probability by {worst:.2g}, more than {TOLERANCE:g}; the head is "
            "not linear after its classifier, or the shifts are too large"
        )
    chosen = tuple(strongest["softmax"].tolist())
    return Sensitivity(unit, chosen, drawn["softmax"], len(features), rates, curves)


def _strongest(head: Head, features: Tensor, count: int) -> Tensor:
    """The channels (M,) of a head's classifier with the largest mean input, strongest first, on the CPU."""
    order = classifier_inputs(head, features).mean(0).argsort(descending=True, stable=True)
    return order[:count].cpu()


def mean_interval(values: Tensor, resamples: int = RESAMPLES) -> Interval:
    """95 % bootstrap interval of the mean of per-image values (B,)."""
    sample = values.detach().cpu().double().numpy()
    drawn = np.random.default_rng(0).integers(0, len(sample), (resamples, len(sample)))
    return bootstrap_interval(sample[drawn].mean(1), float(sample.mean()))


@dataclass(frozen=True)
class _Changes:
    """Per shift: mean change of the map (D,B), largest change (D,) of a probability, of a sigmoid score."""

    change: Tensor
    probability: Tensor
    score: Tensor | None


def _branches(head: HeadSpec) -> tuple[Branch, ...]:
    return ("softmax",) if head.branch == "softmax" else ("softmax", "sigmoid")


def _changes(
    network: Backbone,
    features: Tensor,
    labels: Tensor,
    shifts: Tensor,
    method: CamMethod,
    head: HeadSpec,
    protocol: Protocol,
    shifted: Branch,
) -> _Changes:
    change, probability, score = [], [], []
    for rows, part in _blocks(network, features, shifts):
        arguments = (network, features[rows], labels[rows])
        before = distort(*arguments, torch.zeros_like(shifts[:1]), method, head, protocol, shifted=shifted)
        found = [distort(*arguments, shifts[p], method, head, protocol, shifted=shifted) for p in part]
        change.append(torch.cat([(f.maps - before.maps).abs().mean((2, 3)) for f in found]))
        probability.append(torch.cat([(f.probabilities - before.probabilities).abs().amax((1, 2)) for f in found]))
        if before.scores is not None:
            score.append(
                torch.cat([(f.scores - before.scores).abs().amax((1, 2)) for f in found if f.scores is not None])
            )
    return _Changes(
        torch.cat(change, 1).cpu(),
        torch.stack(probability).amax(0).cpu(),
        torch.stack(score).amax(0).cpu() if score else None,
    )


def _blocks(network: Backbone, features: Tensor, shifts: Tensor) -> Iterator[tuple[slice, list[slice]]]:
    """Images, and the shifts that are made of them at a time, within ``BUDGET``."""
    image = 8 * features[0].numel()
    classifier = 8 * classifier_of(network.head("softmax")).weight.numel()
    images = max(1, min(len(features), 8, BUDGET // image))
    copies = max(1, min(BUDGET // (image * images), BUDGET // classifier))
    parts = [slice(start, start + copies) for start in range(0, len(shifts), copies)]
    for start in range(0, len(features), images):
        yield slice(start, start + images), parts


def _rate(head: HeadSpec, equation: Equation, shifted: Branch, found: _Changes) -> Rate:
    per_image = 100 * found.change.mean(0)
    return Rate(
        head.name,
        equation,
        shifted,
        float(per_image.mean()),
        mean_interval(per_image),
        float(found.probability.max()),
        None if found.score is None else float(found.score.max()),
    )

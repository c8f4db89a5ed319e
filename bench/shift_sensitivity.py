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

from ..baselines.base import HEADS, Backbone, Branch, CamMethod, HeadSpec
from ..protocol import Protocol
from ..results.intervals import RESAMPLES, Interval, bootstrap_interval
from .distortion import all_channels, classifier_inputs, classifier_of, distort, one_channel, weight_unit
from .errors import RunError
from .progress import progress

Equation = Literal["Eq. 9", "Eq. 10"]
EQUATIONS: tuple[Equation, ...] = ("Eq. 9", "Eq. 10")
MEASURED_HEADS = ("softmax", "softmax_clamped", "sigmoid", "sigmoid_signed")
TOLERANCE = 1e-6
"""Softmax probabilities may move by this much under a shift; more is an error."""
BUDGET = 256 << 20
"""Bytes of shifted features, and of shifted classifiers, that are held at a time; it changes no result."""


@dataclass(frozen=True)
class Curve:
    """How far the maps of one head move as a shift grows.

    Attributes:
        head: Name. equation: Eq. 9 at one channel, or Eq. 10. shifted: The branch whose parameters are shifted.
        deltas: δ or Δ in σ_W. change: Mean |M̃' − M̃| per image (D,B). probability: Largest change (D,) of a softmax
            probability. score: Largest change (D,) of a sigmoid score; None for softmax heads.
    """

    head: str
    equation: Equation
    shifted: Branch
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
    """A whole measurement. ``unit``: σ_W; ``channels``: measured with Eq. 9; ``channel``: the one that curves shift."""

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
    order = classifier_inputs(deciding, features).mean(0).argsort(descending=True, stable=True)
    strongest = order[: channels or inputs].cpu()
    single, every = one_channel(strongest, torch.tensor([unit]), inputs), all_channels(torch.tensor([unit]), inputs)
    device = features.device
    measured = [(HEADS.get(h), b) for h in MEASURED_HEADS for b in _branches(HEADS.get(h))]
    rates, curves, channel = list[Rate](), list[Curve](), int(strongest[0])
    with progress("shift sensitivity", len(measured), "heads") as bar:
        for head, branch in measured:

            def changes(shifts: Tensor, head: HeadSpec = head, branch: Branch = branch) -> _Changes:
                return _changes(network, features, labels, shifts.to(device), method, head, protocol, branch)

            for equation, shifts in zip(EQUATIONS, (single, every), strict=True):
                found = changes(shifts)
                if not rates:
                    channel = int(strongest[int(found.change.mean(1).argmax())])
                rates.append(_rate(head, equation, branch, found))
            grids = (
                (EQUATIONS[0], deltas, one_channel(torch.tensor([channel]), torch.tensor(deltas) * unit, inputs)),
                (EQUATIONS[1], collapse, all_channels(torch.tensor(collapse) * unit, inputs)),
            )
            for equation, values, shifts in grids:
                found = changes(shifts)
                curves.append(
                    Curve(head.name, equation, branch, tuple(values), found.change, found.probability, found.score)
                )
            bar.advance(1)
    worst = max(float(c.probability.max()) for c in curves)
    worst = max(worst, *(r.probability for r in rates))
    if worst > TOLERANCE:
        raise RunError(
            f"{network.name}: a shift moved a softmax probability by {worst:.2g}, more than {TOLERANCE:g}; the head is "
            "not linear after its classifier, or the shifts are too large"
        )
    return Sensitivity(unit, tuple(strongest.tolist()), channel, len(features), rates, curves)


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

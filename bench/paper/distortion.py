"""Section 3.2 of the paper as a measurement: shifts of a head's weights that no softmax probability shows.

A shift by v adds the same vector to the classifier's weights of every class, W' = W + 1·vᵀ. All logits of an image then
move by the same amount v·z (z: the classifier's input; the pooled features of a GAP + linear head), so softmax is
unchanged (Eq. 8). Eq. 9 shifts one channel, v = δ·e_i, and the map of a GAP + linear head moves by δ·F_i; Eq. 10 shifts
all of them down, v = −Δ·1. The network's own classifier is rebuilt with the shifted weights, in float64, and run: that
the probabilities stay is measured, not assumed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...baselines.cams import CamMethod, Evidence
from ...baselines.contracts import Backbone, Branch, Head, HeadSpec
from ...baselines.heads import GapLinear
from ...protocol import Protocol
from ..engine.scoring.reading import score_map_of
from ..host.errors import UsageError

MEASURABLE = frozenset({"features", "gradients", "head_gradients", "class_weights"})
"""What a CAM method may need for its maps to follow from the features and a shifted head alone."""


class ShiftedHead(Head):
    """D copies of a head in float64, copy d with the classifier's weights W + 1·shifts[d]ᵀ.

    Args:
        head: GAP + linear, or with one classifier that is a Linear layer or a 1×1 convolution.
        shifts: (D,K), the vectors v; K inputs of the classifier.

    Raises:
        UsageError: A head whose classifier is none of these, or another K.
    """

    def __init__(self, head: Head, shifts: Tensor) -> None:
        super().__init__()
        self.kind, self.num_classes, self.copies = head.kind, head.num_classes, len(shifts)
        plain = in_double(head)
        # The modules are copied, the parameters are not: an MLP head has a gigabyte of them.
        shared = {id(t): t for t in (*plain.parameters(), *plain.buffers())}
        self.net = copy.deepcopy(plain, shared).eval()
        classifier = classifier_of(self.net)
        if shifts.shape[1:] != (classifier.weight.shape[1],):
            raise UsageError(f"a shift has {shifts.shape[1]} numbers; the classifier has {classifier.weight.shape[1]}")
        self.stack = _StackedClassifier(classifier, shifts.double().to(classifier.weight.device))
        if not isinstance(self.net, GapLinear):
            parent, _, leaf = self.net.classifiers[0].rpartition(".")
            setattr(self.net.get_submodule(parent), leaf, self.stack)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (D·B,C) of features (D·B,N,P,Q), the B images of each copy consecutive."""
        if isinstance(self.net, GapLinear):
            logits: Tensor = self.stack(self.net.pooled(features))
        else:
            logits = self.net(features)
        return logits

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> Head:
        """A shifted head is measured, never trained: TypeError."""
        del generator, num_classes
        raise TypeError("a shifted head has no fresh clone")

    def pooled(self, features: Tensor) -> Tensor:
        """What the head that is shifted makes of features (D·B,N,P,Q)."""
        return self.net.pooled(features)

    def class_weights(self, target: Tensor) -> Tensor | None:
        """Rows (D·B,N) of the shifted layers for classes ``target`` (D·B,); None unless it is pooling + linear."""
        if not isinstance(self.net, GapLinear):
            return None
        copies = torch.arange(self.copies, device=target.device).repeat_interleave(len(target) // self.copies)
        return self.stack.weight[copies, target]


class _StackedClassifier(nn.Module):
    """D linear classifiers (or 1×1 convolutions) side by side; image n of D·B goes through number n // B."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear | nn.Conv2d, shifts: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().flatten(1) + shifts[:, None])
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (D·B,C,…) of inputs (D·B,K,…)."""
        stacked = inputs.reshape(len(self.weight), -1, inputs.shape[1], math.prod(inputs.shape[2:]))
        out = torch.einsum("dck,dbks->dbcs", self.weight, stacked)
        if self.bias is not None:
            out = out + self.bias[:, None]
        return out.reshape(len(inputs), -1, *inputs.shape[2:])


@dataclass(frozen=True)
class Distorted:
    """What D shifts do to B images, float64.

    ``probabilities`` (D,B,C): softmax of the deciding branch. ``scores`` (D,B,C): sigmoid of the other one, or None.
    ``maps`` (D,B,R,R): normalised maps.
    """

    probabilities: Tensor
    scores: Tensor | None
    maps: Tensor


def distort(
    network: Backbone,
    features: Tensor,
    labels: Tensor,
    shifts: Tensor,
    method: CamMethod,
    head: HeadSpec,
    protocol: Protocol,
    *,
    shifted: Branch = "softmax",
) -> Distorted:
    """Probabilities and normalised maps of a network whose ``shifted`` branch has its weights shifted.

    ``shifted="softmax"`` is the paper's symmetry: the class is decided, and the maps of the softmax heads are drawn, by
    the shifted parameters; the sigmoid branch has parameters of its own, which no one touches. ``shifted="sigmoid"``
    asks what the same shift would do to that branch, whose scores it changes.

    Args:
        network: Frozen network with the branch that ``head`` reads. features: Its features (B,N,P,Q).
        labels: (B,), for protocols that draw the label's map. shifts: (D,K), see ``ShiftedHead``; one batch for all D.
        method: CAM method. head: How the branch is read. protocol: Target, sign, resize, size R.

    Raises:
        UsageError: A method that needs more than features and a head, or a classifier that cannot be shifted.
    """
    if method.headless or not method.needs <= MEASURABLE:
        raise UsageError(
            f"{method.name}: its map does not follow from the features and the head; choose another method"
        )
    copies = len(shifts)
    rows = features.detach().double().repeat(copies, 1, 1, 1)
    none = torch.zeros_like(shifts)
    softmax = ShiftedHead(network.head("softmax"), shifts if shifted == "softmax" else none)
    branch: Head = softmax
    if head.branch == "sigmoid":
        sigmoid = network.head("sigmoid")
        branch = ShiftedHead(sigmoid, shifts) if shifted == "sigmoid" else in_double(sigmoid)
    with torch.no_grad():
        probabilities = softmax(rows).softmax(1)
        scores = branch(rows).sigmoid() if head.branch == "sigmoid" else None
    target = probabilities.argmax(1) if protocol.target == "predicted" else labels.repeat(copies)
    with torch.no_grad():
        _, norm, _ = score_map_of(method, Evidence(rows, branch, target), head, protocol).locate()
    parts = (copies, len(features))
    return Distorted(
        probabilities.unflatten(0, parts),
        None if scores is None else scores.unflatten(0, parts),
        norm.unflatten(0, parts),
    )


def classifier_of(head: Head) -> nn.Linear | nn.Conv2d:
    """The last layer of a head; UsageError unless it is one Linear layer or one 1×1 convolution."""
    if isinstance(head, GapLinear):
        return head.linear
    layer = head.get_submodule(head.classifiers[0]) if len(head.classifiers) == 1 else None
    if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
        return layer
    raise UsageError("this head has no single linear classifier whose weights could be shifted (Eq. 9, 10)")


def in_double(head: Head) -> Head:
    """The head itself where it is in float64 already, else a copy that is; in evaluation mode."""
    if all(p.dtype == torch.float64 for p in head.parameters()):
        return head.eval()
    return copy.deepcopy(head).double().eval()


def classifier_inputs(head: Head, features: Tensor) -> Tensor:
    """Inputs z (B,K) of a head's classifier, averaged over positions where it is a convolution; float64, no graph."""
    net = in_double(head)
    if isinstance(net, GapLinear):
        return net.pooled(features.double())
    seen: list[Tensor] = []
    handle = classifier_of(net).register_forward_hook(lambda _layer, inputs, _out: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            net(features.double())
    finally:
        handle.remove()
    return seen[0] if seen[0].ndim == 2 else seen[0].flatten(2).mean(2)


def weight_unit(head: Head) -> float:
    """σ_W, the standard deviation of a head's classifier weights: the unit of δ and Δ."""
    return float(classifier_of(head).weight.detach().double().std(correction=0))


def one_channel(channels: Tensor, deltas: Tensor, inputs: int) -> Tensor:
    """Shifts (M·D,inputs) of Eq. 9: each of ``deltas`` (D,) at each of ``channels`` (M,), channel by channel."""
    chosen = nn.functional.one_hot(channels, inputs).double()
    return (chosen[:, None] * deltas.double()[None, :, None]).flatten(0, 1)


def all_channels(deltas: Tensor, inputs: int) -> Tensor:
    """Shifts (D,inputs) of Eq. 10: −Δ at every channel for each Δ of ``deltas`` (D,)."""
    return -deltas.double()[:, None].expand(-1, inputs)

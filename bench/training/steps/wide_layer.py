"""Optimiser steps of a head in training, and the shortcut for a wide first layer whose inputs are cached.

The first layer of a VGG's MLP has 103 million weights, and a step of SGD reads and writes all of them several times. On
cached features its inputs x_1 … x_N are fixed, so SGD never leaves W_0 and the span of N known rows:

    W = a W_0 + Aᵀ X,  momentum = e W_0 + Mᵀ X,  logits of image i: a (W_0 x_i) + Σ_j ⟨x_i, x_j⟩ A_j

A and M (N×outputs) take W's place in a step; W itself is made where it is asked for. The same numbers as SGD's on W, up
to float rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ....baselines.contracts import Head
from ...host.memory import is_out_of_memory
from ..recipes.optim import build_optimiser, set_rate
from ..recipes.recipe import Optimiser
from .guard import all_finite, snapshot

State = Callable[[], Mapping[str, Tensor]]
"""Gives the head's parameters as they were when it was made."""


class HeadSteps:
    """Optimiser steps on all of a head's parameters."""

    def __init__(self, head: Head, spec: Optimiser) -> None:
        self.head = head
        self._optimiser = build_optimiser(spec, [(self._stepped(), 1.0)])

    def _stepped(self) -> list[nn.Parameter]:
        return list(self.head.parameters())

    def logits(self, features: Tensor, rows: Tensor) -> Tensor:
        """Logits (B,C), with their graph, of features (B,N,P,Q) of the table's ``rows`` (B,) on their device."""
        del rows
        logits: Tensor = self.head(features)
        return logits

    def clear(self) -> None:
        """Forget the gradients of a step."""
        self._optimiser.zero_grad(set_to_none=True)

    def step(self, factor: float) -> None:
        """One step from the gradients, at ``factor`` times the base learning rate."""
        set_rate(self._optimiser, factor)
        self._optimiser.step()

    def settle(self, last: bool = False) -> None:
        """Bring ``head`` up to date; ``last``: no step follows."""

    def finite(self) -> bool:
        """Whether all that was trained is finite (one wait for the device)."""
        return all_finite(self.head)

    def state(self) -> State:
        """The head's present parameters, to be asked for later."""
        copies = snapshot(self.head)
        return lambda: copies

    def snapshot(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {"head": self.head.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``snapshot``."""
        self.head.load_state_dict(state["head"])
        self._optimiser.load_state_dict(state["optimiser"])


class CachedInputSteps(HeadSteps):
    """SGD on a head whose first layer is represented by its cached inputs (the module's text).

    Args:
        head: Head with a ``first_linear``.
        spec: Optimiser; SGD.
        inputs: (N,D) features of the whole table, by row, as the first layer reads them; zeros where there is none.
    """

    def __init__(self, head: Head, spec: Optimiser, inputs: Tensor) -> None:
        split = head.first_linear()
        if split is None or spec.name != "sgd":
            raise TypeError(f"{type(head).__name__} with {spec.name}: SGD and a head with a first linear layer only")
        self._layer, self._rest = split
        super().__init__(head, spec)
        self._spec, self._inputs = spec, inputs
        self._start = self._layer.weight.detach()
        self._scale, self._momentum_scale = 1.0, 0.0
        with torch.no_grad():
            self._outputs = inputs @ self._start.T
            self._gram = inputs @ inputs.T
        self._rows = torch.zeros_like(self._outputs)
        self._momentum = torch.zeros_like(self._outputs)
        self._last: tuple[Tensor, Tensor] | None = None

    def _stepped(self) -> list[nn.Parameter]:
        return [p for p in self.head.parameters() if p is not self._layer.weight]

    def logits(self, features: Tensor, rows: Tensor) -> Tensor:
        """Logits of the table's ``rows``; the features themselves are known."""
        del features
        with torch.no_grad():
            outputs = torch.addmm(self._outputs[rows], self._gram[rows], self._rows, beta=self._scale)
        outputs.requires_grad_(True)
        self._last = (outputs, rows)
        bias: Tensor | None = self._layer.bias
        logits: Tensor = self._rest(outputs if bias is None else outputs + bias)
        return logits

    def clear(self) -> None:
        """Forget the gradients of a step."""
        super().clear()
        self._last = None

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """SGD with weight decay λ and momentum μ: m ← μ m + (g + λ W); W ← W − η m, or η (g + λ W + μ m) (Nesterov)."""
        super().step(factor)
        if self._last is None or self._last[0].grad is None:
            raise RuntimeError("a step without gradients: call logits() and backward() first")
        gradient, rows = self._last[0].grad, self._last[1]
        spec, rate = self._spec, self._spec.lr * factor
        decay, keep = spec.weight_decay, spec.momentum
        self._momentum.mul_(keep).add_(self._rows, alpha=decay).index_add_(0, rows, gradient)
        pulled = decay * self._scale
        self._momentum_scale = keep * self._momentum_scale + pulled
        if spec.nesterov and keep > 0:
            self._rows.mul_(1 - rate * decay).add_(self._momentum, alpha=-rate * keep)
            self._rows.index_add_(0, rows, gradient, alpha=-rate)
            scale = self._scale - rate * (pulled + keep * self._momentum_scale)
        else:
            self._rows.add_(self._momentum, alpha=-rate)
            scale = self._scale - rate * self._momentum_scale
        # torch refuses a factor beyond the tensor's range; infinite, it makes the loss say that the training diverged.
        self._scale = scale if abs(scale) <= torch.finfo(self._rows.dtype).max else math.inf

    @torch.no_grad()
    def settle(self, last: bool = False) -> None:
        """Write W into the layer."""
        out = self._start if last else torch.empty_like(self._start)
        self._layer.weight.data = self._weight(self._rows, self._scale, out)

    def _weight(self, rows: Tensor, scale: float, out: Tensor) -> Tensor:
        return torch.addmm(self._start, rows.T, self._inputs, beta=scale, out=out)

    def finite(self) -> bool:
        """Whether all that was trained is finite (one wait for the device)."""
        others = [torch.isfinite(p).all() for p in self._stepped()]
        return math.isfinite(self._scale) and bool(torch.stack([torch.isfinite(self._rows).all(), *others]).all())

    def state(self) -> State:
        """The head's present parameters; W is made when they are asked for."""
        rows, scale = self._rows.clone(), self._scale
        name = next(k for k, v in self.head.named_parameters() if v is self._layer.weight)
        others = {k: v.detach().clone() for k, v in self.head.state_dict().items() if k != name}

        def parameters() -> Mapping[str, Tensor]:
            return {**others, name: self._weight(rows, scale, torch.empty_like(self._start))}

        return parameters


def head_steps(head: Head, spec: Optimiser, cached: Tensor | None) -> HeadSteps:
    """The steps for a head: by its first layer's inputs where that layer is wide and the inputs are kept.

    ``cached``: (N,…) features of the table by row, or None. "Wide" means that N×N products and three N×outputs take no
    more memory than the weight's gradient and momentum would.
    """
    split = head.first_linear()
    if split is None or cached is None or spec.name != "sgd":
        return HeadSteps(head, spec)
    weight, count = split[0].weight, len(cached)
    fits = cached[0].numel() == weight.shape[1] and cached.dtype == weight.dtype
    if not fits or count * (count + 3 * weight.shape[0]) > 2 * weight.numel():
        return HeadSteps(head, spec)
    try:
        return CachedInputSteps(head, spec, cached.flatten(1))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # The steps on W need no less, and say what fits.
    return HeadSteps(head, spec)

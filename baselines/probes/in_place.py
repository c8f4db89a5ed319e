"""Operations in place that a gradient cannot pass: a value that the backward pass needs is overwritten in the forward.

A network that only makes predictions may do so freely, and most such operations (``x += y`` of a sum, a ReLU in place)
do gradients no harm; whether one does is known only by trying.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

ADVICE = "compute it out of place (x = x + y, not x += y; x.mul(y), not x.mul_(y))"
_PLACE = re.compile("in-?place")
_MAKER = re.compile(r"output \d+ of (\w+)")


def overwritten(net: nn.Module, given: Tensor) -> str | None:
    """What ``net`` overwrites although its gradient needs it, in words; None where the gradient can be had.

    One forward and one backward pass. Where the gradient fails for another reason, None as well.

    Args:
        net: A module from a tensor to a tensor. given: Its input, which stays as it is.
    """
    outputs: list[tuple[str, Tensor, int, str]] = []
    handles = [m.register_forward_hook(partial(_note, outputs, name)) for name, m in net.named_modules() if name]
    with torch.enable_grad():
        leaf = given.detach().clone().requires_grad_()
        try:
            # Not the leaf itself: that one may never be changed in place.
            torch.autograd.grad(net(leaf.clone()).sum(), leaf)
        except RuntimeError as error:
            if not _PLACE.search(str(error)):
                return None
            maker = _MAKER.search(str(error))
            made_by = maker[1] if maker else ""
            found = [
                n for n, out, version, by in outputs if made_by and by.startswith(made_by) and out._version > version
            ]
            return f"the output of {found[0]}" if found else f"the output of a {made_by}" if made_by else "a value"
        finally:
            for handle in handles:
                handle.remove()
    return None


def _note(outputs: list[tuple[str, Tensor, int, str]], name: str, module: nn.Module, _given: Any, out: Any) -> None:
    if isinstance(out, Tensor) and out.grad_fn is not None:
        outputs.append((f"{name} ({type(module).__name__})", out, out._version, out.grad_fn.name()))

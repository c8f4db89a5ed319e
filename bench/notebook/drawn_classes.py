"""The classes whose evidence ``cambench.explain`` draws: given by index or name, predicted, or all that are present."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...protocol import Protocol
from ...text import number_of
from ..host.errors import UsageError

Target = int | str | Sequence[int | str | Sequence[int | str]] | Tensor | None
ABOVE = 0.5
"""A class of a multi-label network is present in a picture from this score on."""
_SHOWN = 5


@dataclass(frozen=True)
class Drawn:
    """Rows of an explanation: pictures (R,) by number, and the class (R,) int64 of each."""

    pictures: Tensor
    classes: Tensor


def given_classes(
    target: Target, names: Sequence[str], classes: int, count: int, protocol: Protocol
) -> list[list[int]] | None:
    """Classes of each of ``count`` pictures by index; None where they are to be predicted.

    Args:
        target: One class for all pictures, one for each, or a list of several for each (of one picture, a list of
            them); by index or name.
        names: Of the classes; empty where unknown.
        classes: Of the network.
        count: Pictures.
        protocol: What it draws where no class is given.

    Raises:
        UsageError: No such class, another count, or none although the protocol draws the label's.
    """
    if target is None:
        if protocol.target == "label":
            raise UsageError(f"protocol {protocol.name} draws the label's map: give target=, the class of each image")
        return None
    given = target.tolist() if isinstance(target, Tensor) else target
    listed = [given] * count if isinstance(given, int | str) else list(given)
    if count == 1 and len(listed) > 1:
        # Of one picture, several classes can only be its own.
        listed = [listed]
    if len(listed) != count:
        hint = "; for several classes of a picture give a list of lists, [[3, 7], [3]]"
        raise UsageError(f"target: {number_of(len(listed), 'class', 'classes')} for {number_of(count, 'image')}{hint}")
    found = [[one] if isinstance(one, int | str) else list(one) for one in listed]
    if empty := [str(i) for i, several in enumerate(found) if not several]:
        raise UsageError(f"target: no class for image {', '.join(empty[:_SHOWN])}")
    return [[_class(one, names, classes) for one in several] for several in found]


def as_rows(classes: Sequence[Sequence[int]]) -> Drawn:
    """A row for each class of each picture."""
    numbers = [i for i, several in enumerate(classes) for _ in several]
    return Drawn(torch.tensor(numbers), torch.tensor([one for several in classes for one in several]))


def present(scores: Tensor, above: float) -> Drawn:
    """Every class of scores (B,C) above a threshold, the highest first; the highest alone where none is above."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    kept = scores.gather(1, order) > above
    kept[:, 0] = True
    pictures, places = kept.nonzero(as_tuple=True)
    return Drawn(pictures, order[pictures, places])


def _class(one: int | str, names: Sequence[str], classes: int) -> int:
    if isinstance(one, str):
        found = [k for k, name in enumerate(names) if name == one]
        found = found or [k for k, name in enumerate(names) if name.casefold() == one.casefold()]
        if len(found) > 1:
            raise UsageError(f"target {one!r}: {len(found)} classes have this name; give its index, {found}")
        if found:
            return found[0]
        near = difflib.get_close_matches(one, names, n=3) or list(names[:_SHOWN])
        known = f"; nearest: {', '.join(near)}" if near else ": the names of the classes are not known here"
        raise UsageError(f"target {one!r}: no such class{known}")
    if not 0 <= int(one) < classes:
        raise UsageError(f"target {one}: the network has classes 0 to {classes - 1}")
    return int(one)

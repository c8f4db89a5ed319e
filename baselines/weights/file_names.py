"""Names of parameters in files: prefixes that wrappers add, and names that another package gives the same network."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

State = dict[str, Tensor]
_ALWAYS = ("module.", "_orig_mod.")
"""Prefixes of data-parallel training and of ``torch.compile``: no network has layers of these names."""
_SHOWN = 6
_PAIRS = 3


def without_prefix(state: Mapping[str, Tensor], fits: Callable[[str], bool] | None = None) -> State:
    """The tensors without the prefix in front of whose rest most names fit (``model.``, ``net.``, any other).

    Where no one prefix makes all names fit, but several do that give each name to one tensor (``encoder.`` for the body
    and ``head.`` for the classifier), all of these are dropped.

    Args:
        state: Tensors by name.
        fits: Whether the network has a parameter of this name; where None, only ``module.`` and ``_orig_mod.`` in front
            of every name are dropped.
    """
    if fits is None:
        found = dict(state)
        while prefix := next((p for p in _ALWAYS if found and all(k.startswith(p) for k in found)), ""):
            found = {k.removeprefix(prefix): v for k, v in found.items()}
        return found
    best = max(_prefixes(state), key=lambda p: (sum(k.startswith(p) and fits(k[len(p) :]) for k in state), -len(p)))
    found = {k.removeprefix(best): v for k, v in state.items()}
    if not all(map(fits, found)):
        rests = {k: next((rest for rest in _rests(k) if fits(rest)), None) for k in state}
        if None not in rests.values() and len(set(rests.values())) == len(state):
            return {str(rests[k]): v for k, v in state.items()}
    return found


def _rests(key: str) -> list[str]:
    """A name, and what is left of it behind each of its points, the longest first."""
    return [key, *(key[match.end() :] for match in re.finditer(r"\.", key))]


def second_set(unexpected: Iterable[str], own: Mapping[str, Tensor]) -> str:
    """That names which do not fit are those of the network once more, under a prefix, in words; else empty."""
    listed = list(unexpected)
    first = listed[0] if listed else ""
    for prefix in (first[: len(first) - len(rest)] for rest in _rests(first)[1:]):
        if all(k.startswith(prefix) and k[len(prefix) :] in own for k in listed):
            return f"what begins with {prefix} is the same network once more: keep the tensors of one of them"
    return ""


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """The empty prefix, and those that at least half of the names share."""
    often: Counter[str] = Counter()
    for key in state:
        often.update(key[: match.end()] for match in re.finditer(r"\.", key))
    return ["", *(p for p, count in often.items() if 2 * count >= len(state))]


def renaming(missing: Iterable[str], state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What another package's names may stand for, in words: the nearest name of the same shape; empty where none is.

    Args:
        missing: Our names that the file lacks.
        state: The file's tensors.
        own: The network's tensors.
    """
    left, pairs = list(missing), []
    for key in (k for k in state if k not in own):
        alike = [n for n in left if own[n].shape == state[key].shape and _leaf(n) == _leaf(key)]
        near = max(alike, key=lambda n: difflib.SequenceMatcher(None, _plain(n), _plain(key)).ratio(), default=None)
        if near is not None:
            pairs.append(f"{key} -> {near}")
            left.remove(near)
        if len(pairs) == _PAIRS:
            break
    begins = f"the nearest renaming begins {', '.join(pairs)}"
    return f"the file may name the same network in another way; {begins}" if pairs else ""


def some_names(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" … and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _plain(name: str) -> str:
    return re.sub(r"\b_+", "", name).casefold()

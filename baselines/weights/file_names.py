"""Names of parameters in files: prefixes that wrappers add, and names that another package gives the same network."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from torch import Tensor

State = dict[str, Tensor]
_ALWAYS = ("module.", "_orig_mod.")
"""Prefixes of data-parallel training and of ``torch.compile``: no network has layers of these names."""
_CLASSIFIERS = frozenset(("fc", "head", "classifier", "linear", "last_linear", "logits", "output", "cls"))
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


def whole_sets(state: Mapping[str, Tensor], own: Collection[str]) -> list[str]:
    """The prefixes under which a file holds all of a network's names; BatchNorm's counters may be absent."""
    names = [k for k in own if not k.endswith("num_batches_tracked")]
    if not names:
        return []
    # Of several networks of one kind in a file, each holds the longest name once.
    last = max(names, key=len)
    found = [k.removesuffix(last) for k in state if k == last or k.endswith(f".{last}")]
    return [prefix for prefix in found if all(prefix + name in state for name in names)]


def averaged(prefix: str) -> bool:
    """Whether a prefix is that of averaged weights, which are read only where they are alone."""
    return re.search(r"(^|[._])(ema|swa|avg|averaged?)([._]|$)", prefix.casefold()) is not None


def adapters(names: Iterable[str]) -> str:
    """That names are those of a network with PEFT's adapters, in words; else empty."""
    found = any(".base_layer." in n or ".lora_" in n for n in names)
    return "they are of a network with adapters (PEFT); save the state_dict of net.merge_and_unload()" if found else ""


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
        alike = [n for n in left if _alike(n, own[n], key, state[key]) and _leaf(n) == _leaf(key)]
        near = max(alike, key=lambda n: difflib.SequenceMatcher(None, _plain(n), _plain(key)).ratio(), default=None)
        if near is not None:
            pairs.append(f"{key} -> {near}")
            left.remove(near)
        if len(pairs) == _PAIRS:
            break
    begins = f"the nearest renaming begins {', '.join(pairs)}"
    return f"the file may name the same network in another way; {begins}" if pairs else ""


def _alike(name: str, own: Tensor, theirs: str, tensor: Tensor) -> bool:
    """Whether two tensors have one shape; of two classifiers, by their names, the classes may differ."""
    if own.shape == tensor.shape:
        return True
    both = {name.split(".")[-2:][0], theirs.split(".")[-2:][0]}
    return both <= _CLASSIFIERS and own.ndim == tensor.ndim == 2 and own.shape[1] == tensor.shape[1]


def some_names(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" … and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _plain(name: str) -> str:
    return re.sub(r"\b_+", "", name).casefold()

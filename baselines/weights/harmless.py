"""What training code keeps beside the weights and runs nothing when it is read: the allow-list of ``torch.load``.

Everything here is a value: arguments, paths, dates, numbers, arrays of NumPy. Where a class of another package or
another system may be absent, an empty stand-in of its name takes its place: what is beside the weights is never used.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import functools
import pathlib
import types
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

_BUILTIN = (bool, bytes, dict, float, frozenset, int, list, range, slice, str, tuple)
_VALUES = (
    *(argparse.Namespace, types.SimpleNamespace, decimal.Decimal, fractions.Fraction, uuid.UUID),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
)
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path", "PurePath")
_MAPPINGS = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "yacs.config.CfgNode",
)
_CONFIGURATION = (
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata", "Container", "Node")),
    *(f"omegaconf.nodes.{name}Node" for name in ("Any", "Boolean", "Float", "Integer", "Path", "String")),
    "typing.Any",
)
_ARRAY_KINDS = "?bhilqBHILQefdgFDGSUVOMm"


@functools.cache
def harmless() -> list[Any]:
    """Classes and functions for ``torch.serialization.safe_globals``; reading them runs no code of a file."""
    scalar: Any = np.float64(0).__reduce__()[0]
    rebuild: Any = np.zeros(1).__reduce__()[0]
    found: list[Any] = [*_BUILTIN, *_VALUES, np.ndarray, np.dtype, *{type(np.dtype(k)) for k in _ARRAY_KINDS}]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found += [_named(f"{module}.scalar", scalar), _named(f"{module}._reconstruct", rebuild)]
    for name in _PATHS:
        kind = pathlib.PureWindowsPath if "Windows" in name else pathlib.PurePosixPath
        found += [_named(f"{module}.{name}", kind) for module in ("pathlib", "pathlib._local")]
    # The elements that follow are read into the plain kinds.
    found += [_named("collections.defaultdict", lambda *_: {}), _named("collections.deque", lambda *_: [])]
    return [*found, *map(_mapping, _MAPPINGS), *map(_empty, _CONFIGURATION)]


def _named(full: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """A function known to the reader by another name."""

    def made(*args: Any) -> Any:
        return make(*args)

    made.__module__, _, made.__qualname__ = full.rpartition(".")
    return made


def _mapping(full: str) -> type:
    """A class whose instances are ordered mappings."""
    made = _empty(full)
    made.__new__ = lambda *_: OrderedDict()  # type: ignore[method-assign, assignment]
    return made


def _empty(full: str) -> type:
    module, _, name = full.rpartition(".")
    return type(name, (), {"__module__": module, "__qualname__": name})

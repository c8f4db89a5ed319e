"""Compilation of the CPU kernels: numba without the GIL, cached on disk where the machine allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` at its first call, without the GIL; the machine code is cached between processes."""
    try:
        return cast(F, njit(cache=True, nogil=True)(function))
    except RuntimeError:
        # No folder is writable (neither the package's nor the user's): compile in every process instead.
        return cast(F, njit(nogil=True)(function))

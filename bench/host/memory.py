"""Too little memory for a batch: said with the largest batch that fits, never worked around silently."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import TypeVar

import torch

from .allocator import return_freed_memory
from .errors import RunError

T = TypeVar("T")

# oneDNN says "primitive" where it cannot have its buffers, "primitive descriptor" where it has no code for a layer.
_SAID_ON_THE_HOST = re.compile(
    r"can't allocate memory|not enough memory|std::bad_alloc|"
    r"could not create a (?:primitive(?! descriptor)|memory object)"
)
"""How torch's plain RuntimeErrors say on a CPU that memory ran out."""


class BatchMemoryError(RunError):
    """The batch does not fit into memory; ``fits`` is the largest number of images at a time that does (0: none)."""

    def __init__(self, message: str, fits: int) -> None:
        super().__init__(message)
        self.fits = fits


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device, or the host's allocator, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _SAID_ON_THE_HOST.search(str(error)) is not None


def with_memory(
    attempt: Callable[[int], T], what: str, count: int, device: torch.device, advice: Callable[[int], str]
) -> T:
    """``attempt(count)``; where memory runs out, the error that names the largest number of images that has enough.

    Args:
        attempt: The computation for a number of images.
        what: What it computes, in words.
        count: Images at a time.
        device: Where.
        advice: What to do, given the number that fits (at least 1).

    Raises:
        BatchMemoryError: ``count`` images at a time do not fit.
    """
    try:
        return attempt(count)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler, so that the failed attempt's tensors are gone.
    raise memory_error(what, count, device, attempt, advice)


def memory_error(
    what: str,
    count: int,
    device: torch.device,
    attempt: Callable[[int], object],
    advice: Callable[[int], str],
    *,
    frugal: bool = False,
) -> BatchMemoryError:
    """The error for ``count`` images at a time that did not fit, after looking for the largest number that does.

    Args:
        what: What was computed, in words.
        count: Images at a time.
        device: Where.
        attempt: Does the same for a number of images.
        advice: What to do, given the number that fits (at least 1).
        frugal: ``attempt`` takes less memory an image than what failed, so that ``count`` itself may fit.
    """
    fits = largest_fitting(attempt, count + frugal)
    if fits:
        told = f"the largest that fits is {fits}: {advice(fits)}"
    elif device.type == "cpu" and count > 1:
        # The host's heap may keep what the failed attempts took, so that this is not the last word.
        told = (
            f"not even one fits beside what this process holds by now: {advice(1)}. If that fails too, take a smaller "
            "network"
        )
    else:
        told = "not even one fits: take a smaller network"
    return BatchMemoryError(f"{what}: {device} has no memory for {count} images at a time; {told}", fits)


def largest_fitting(attempt: Callable[[int], object], below: int) -> int:
    """Largest n < ``below`` whose ``attempt(n)`` has memory enough, by bisection; 0 where not even 1 has."""
    fits, fails = 0, below
    while fails - fits > 1:
        middle = (fits + fails) // 2
        # Only what the training itself holds may count: what a failed attempt left behind goes first.
        gc.collect()
        return_freed_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if _has_memory(attempt, middle):
            fits = middle
        else:
            fails = middle
    return fits


def _has_memory(attempt: Callable[[int], object], count: int) -> bool:
    try:
        attempt(count)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True

"""What a run loses to foreign code that fails: one method, metric or network, said in one sentence."""

from __future__ import annotations

import inspect
import re
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ....baselines.weights import WeightsError
from ....datasets.schema import DatasetError
from ....registry import RegistryError, UnknownNameError
from ....results.records.record_errors import ResultsError
from ...host.errors import RunError, UsageError
from ...host.memory import is_out_of_memory

_OURS = (UsageError, RunError, UnknownNameError, RegistryError, DatasetError, WeightsError, ResultsError, OSError)
_PACKAGE = Path(__file__).resolve().parents[3]
_ROOMS = ("baselines", "bench", "datasets", "metrics", "results")


class BadReturnError(ValueError):
    """Foreign code returned what it must not; the message says what was expected."""


@dataclass(frozen=True)
class Culprit:
    """Foreign code that failed: the function that was called, and the error that came of it."""

    function: Callable[..., object]
    error: BaseException

    def said(self, image_ids: Sequence[str] = ()) -> str:
        """One sentence: the images, if any are given, the error, the line of the file."""
        where = f"images {image_ids[0]} to {image_ids[-1]}: " if len(image_ids) > 1 else ""
        where = f"image {image_ids[0]}: " if len(image_ids) == 1 else where
        text = " ".join(str(self.error).split()) or "no message"
        line, inside = self._line()
        # What we say of a returned value needs no class of ours in front.
        kind = f"{type(self.error).__name__}: " if inside else ""
        return f"{where}{kind}{text}{f' ({line})' if line else ''}"

    def _line(self) -> tuple[str, bool]:
        """File and line, and whether the error was raised there.

        The innermost line of a file that is neither ours nor a library's; else of the function's own file; where the
        error came after the function had returned, the line at which the function begins.
        """
        frames = traceback.extract_tb(self.error.__traceback__)
        home = _file_of(self.function)
        own = [f for f in frames if f.filename == home]
        foreign = [f for f in frames if _is_foreign(Path(f.filename))]
        for frame in (foreign or own)[-1:]:
            return f"{Path(frame.filename).name}, line {frame.lineno}", True
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return (f"{Path(home).name}, line {code.co_firstlineno}", False) if code is not None else ("", False)


def is_loss(error: BaseException) -> bool:
    """Whether an error is one of foreign code, which loses itself only: not of memory or a device, nor in our words.

    ``sys.exit`` in it is an error of it, too: it must not end the run without a word.
    """
    return not isinstance(error, _OURS) and not is_out_of_memory(error) and not is_device_failure(error)


def is_device_failure(error: BaseException) -> bool:
    """Whether an accelerator failed, so that nothing more can be computed there in this process."""
    kind = getattr(torch, "AcceleratorError", None)  # torch 2.8
    said = re.match(r"(CUDA|HIP|XPU) error\b", str(error)) is not None
    return (kind is not None and isinstance(error, kind)) or (isinstance(error, RuntimeError) and said)


def first_failing(attempt: Callable[[int], object], image_ids: Sequence[str]) -> Sequence[str]:
    """The one image at which ``attempt`` (given how many first images it takes) begins to fail, by bisection.

    All images where it does not fail any more, as with an error of the whole batch or of chance.
    """
    passes, fails = 0, len(image_ids)
    if _works(attempt, fails):
        return image_ids
    while fails - passes > 1:
        middle = (passes + fails) // 2
        if _works(attempt, middle):
            passes = middle
        else:
            fails = middle
    return image_ids[passes : passes + 1]


def _works(attempt: Callable[[int], object], count: int) -> bool:
    try:
        attempt(count)
    except (Exception, SystemExit):
        return False
    return True


def _file_of(function: Callable[..., object]) -> str:
    try:
        return inspect.getfile(inspect.unwrap(function))
    except TypeError:
        try:
            return inspect.getfile(type(function))
        except TypeError:
            return ""


def _is_foreign(file: Path) -> bool:
    """Whether a file is the user's: no part of Python, of an installed package, or of this one."""
    inside = [Path(sysconfig.get_path("stdlib")), *(_PACKAGE / room for room in _ROOMS)]
    return (
        file.is_file()
        and "site-packages" not in file.parts
        and file.parent != _PACKAGE
        and not any(file.is_relative_to(folder) for folder in inside)
    )

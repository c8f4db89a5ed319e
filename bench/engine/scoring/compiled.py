"""A network's forward as programs that ``torch.compile`` makes of it, one for each size of a batch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ....baselines.contracts import Backbone
from ....consoles import err as console
from ....text import first_line
from ...host.dtypes import Compile
from ...host.memory import is_out_of_memory
from .losses import is_device_failure

BACKEND = "inductor"
"""What makes the programs; it needs a C++ compiler on the CPU, Triton on CUDA."""
NO_GRAPHS = "the device has no CUDA graphs: forwards were compiled without"
PROGRAMS = 4096
"""Programs of one function that torch keeps: past its own limit of 8 it would go on uncompiled without a word."""


class Forward:
    """Target features of normalised images, by a network as it is or compiled.

    A program is made for each size of a batch by itself, so that an image's features depend on its batch alone, never
    on the sizes that came before. Autograd, probes and heads take the network as it is.

    Args:
        how: ``no``; ``kernels``: fused kernels; ``graphs``: those in CUDA graphs.
        device: Where the network is.
        notes: What was computed otherwise than asked for -> forwards concerned; added to.

    Attributes:
        making_ms: Milliseconds that went into making programs so far: what no stage of a run is to count.
    """

    def __init__(self, how: Compile, device: torch.device, notes: Counter[str]) -> None:
        self._notes, self._why_not, self._said = notes, "", set[tuple[str, int]]()
        self.making_ms = 0.0
        self._graphs = how == "graphs" and device.type == "cuda"
        self._missing = how == "graphs" and not self._graphs
        # Made at first use: torch.compile imports what takes seconds.
        self._compiled = None if how == "no" else _Programs("reduce-overhead" if self._graphs else None)

    def __call__(self, network: Backbone, images: Tensor) -> Tensor:
        """Features (B,N,P,Q) of images (B,3,R,R)."""
        if self._compiled is None:
            return network.features(images)
        why = self._why_not or (f"the network cannot be compiled: {network.only_eager}" if network.only_eager else "")
        if not why:
            try:
                return self._by_program(network, images)
            except Exception as error:
                if is_out_of_memory(error) or is_device_failure(error) or not _of_compiler(error):
                    raise
                why = self._why_not = f"torch.compile failed ({_said(error)})"
        self._notes[f"{why}: forwards were computed as without --compile"] += 1
        return network.features(images)

    def _by_program(self, network: Backbone, images: Tensor) -> Tensor:
        assert self._compiled is not None
        if (size := (network.name, len(images))) not in self._said:
            self._said.add(size)
            console.print(
                f"compiling: the forward of {network.name} for batches of {len(images)}, which takes up to a minute",
                markup=False,
                soft_wrap=True,
            )
            begun = time.perf_counter()
            try:
                self._compiled(network, images)
            finally:
                self.making_ms += 1e3 * (time.perf_counter() - begun)
        made = self._compiled(network, images)
        if self._missing:
            self._notes[NO_GRAPHS] += 1
        # The next replay of a graph writes into the same memory.
        return made.clone() if self._graphs else made


class _Programs:
    """``network.features`` under ``torch.compile``."""

    def __init__(self, mode: str | None) -> None:
        self._mode = mode
        self._run: Callable[[Backbone, Tensor], Tensor] | None = None

    def __call__(self, network: Backbone, images: Tensor) -> Tensor:
        run = self._run
        if run is None:
            run = self._run = torch.compile(_features, dynamic=False, mode=self._mode, backend=BACKEND)
        with _room():
            if self._mode is not None:
                torch.compiler.cudagraph_mark_step_begin()
            return run(network, images)


def _features(network: Backbone, images: Tensor) -> Tensor:
    return network.features(images)


@contextmanager
def _room() -> Iterator[None]:
    """Room for the programs of all networks and sizes of a run."""
    from torch._dynamo import config

    names = ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit", "accumulated_cache_size_limit")
    with config.patch({name: PROGRAMS for name in names if hasattr(config, name)}):
        yield


def _said(error: Exception) -> str:
    """The first line of what went wrong, behind the compiler's own words around it."""
    inner = getattr(error, "inner_exception", error)
    return f"{type(inner).__name__}: {first_line(inner)}"


def _of_compiler(error: BaseException) -> bool:
    """Whether the compiler failed, and not the network that it was given."""
    from torch._dynamo.exc import TorchDynamoException

    module = type(error).__module__
    return isinstance(error, TorchDynamoException) or module.startswith(("torch._inductor", "torch._dynamo"))

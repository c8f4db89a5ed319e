"""Optimiser, learning-rate schedule and random streams: pure functions of recipe, seed and step.

Nothing here keeps state of its own, so a training resumes exactly from parameters, optimiser state and a step number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from .recipe import Optimiser, Schedule


def build_optimiser(spec: Optimiser, groups: Iterable[tuple[Iterable[nn.Parameter], float]]) -> torch.optim.Optimizer:
    """Optimiser over (parameters, learning-rate factor) groups; ``set_rate`` moves all groups together."""
    settings: list[dict[str, Any]] = []
    for parameters, factor in groups:
        kept = [p for p in parameters if p.requires_grad]
        matrices = [p for p in kept if p.ndim > 1 or spec.decay_vectors]
        vectors = [p for p in kept if p.ndim <= 1 and not spec.decay_vectors]
        for chosen, decay in ((matrices, spec.weight_decay), (vectors, 0.0)):
            if chosen:
                settings.append({"params": chosen, "weight_decay": decay, "base_lr": spec.lr * factor})
    if spec.name == "sgd":
        nesterov = spec.nesterov and spec.momentum > 0
        # One pass over the parameters instead of six: a VGG head's step took longer than its gradients.
        fused = all(p.device.type in ("cpu", "cuda") for group in settings for p in group["params"])
        return torch.optim.SGD(settings, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov, fused=fused)
    return torch.optim.AdamW(settings, lr=spec.lr, betas=spec.betas)


def rate_groups(
    named: Iterable[tuple[str, nn.Parameter]], fast: tuple[str, ...], factor: float
) -> list[tuple[list[nn.Parameter], float]]:
    """Groups for ``build_optimiser``; parameters whose name begins with ``fast`` learn at ``factor`` times the rate."""
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for name, parameter in named:
        groups[name.startswith(fast)].append(parameter)
    return [(groups[0], 1.0), (groups[1], factor)]


def rate_factor(schedule: Schedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Learning-rate factor of a step (counted from 0 over the whole training)."""
    if schedule.kind == "step":
        epoch = step // steps_per_epoch
        return schedule.gamma ** sum(epoch >= m for m in schedule.milestones)
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps_per_epoch * epochs - warmup, 1)
    return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times ``factor``."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor


def epoch_order(length: int, seed: int, epoch: int) -> list[int]:
    """Rows 0 … length-1 in the random order of an epoch."""
    generator = torch.Generator().manual_seed(mix(seed, epoch, 0))
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order


def seed_step(seed: int, step: int) -> None:
    """Seed the global generators (a head's dropout) for one step; call inside ``torch.random.fork_rng``."""
    seed_generators(mix(seed, step, 1))


def seed_part(seed: int, step: int, part: int) -> None:
    """Seed the global generators (dropout) for a part of a step's batch; parts are counted from 0, to 4095."""
    seed_generators(mix(seed, step * 4096 + part, 2))


def seed_layers(seed: int) -> None:
    """Seed the CPU's global generator for layers that a method adds; call inside ``torch.random.fork_rng``."""
    # The item before the first of the last stream: no other number of the training is drawn from it.
    torch.default_generator.manual_seed(mix(seed, -1, 3))


def image_seeds(seed: int, epoch: int, rows: Sequence[int], length: int) -> list[int]:
    """Seeds of the augmentation of a table's ``rows`` in an epoch; ``length`` is the table's."""
    # Item 0 of this stream makes a head's first parameters.
    return [mix(seed, epoch * length + row + 1, 3) for row in rows]


def seed_generators(value: int) -> None:
    """``torch.manual_seed`` without the record of the call stack that it keeps where CUDA was never used (0.5 ms)."""
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)


def mix(seed: int, count: int, stream: int) -> int:
    """A 63-bit seed for item ``count`` of one of four streams; splitmix64, so that near seeds share no numbers."""
    mask = 2**64 - 1
    value = (seed * 0x9E3779B97F4A7C15 + count * 4 + stream + 1) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1


def rng_devices(device: torch.device) -> list[torch.device]:
    """Devices whose generator ``torch.random.fork_rng`` must save beside the CPU's."""
    return [device] if device.type == "cuda" else []

"""Devices, mixed precision and processes of a network's training, from Lightning Fabric.

Fabric and not Accelerate: a Fabric is an object with its device, precision and process group, so that one process can
train a float32 network on one device and a bfloat16 one on another; Accelerate keeps these once for the whole process.
It is imported where a network is trained, never with cambench.
"""

from __future__ import annotations

import os
from inspect import signature
from typing import TYPE_CHECKING

import torch

from ...host.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PRECISIONS = {"bfloat16": "bf16-mixed", "float16": "16-mixed"}


def open_fabric(device: str | torch.device = "cpu", dtype: str = "float32") -> Fabric:
    """The processes that ``torchrun`` started, joined; a process alone without ``torchrun``.

    Processes on CUDA take the devices of their local ranks and talk through NCCL, others through Gloo.

    Args:
        device: Where to compute.
        dtype: Autocast dtype of the forward pass, a recipe's ``dtype``.

    Raises:
        UsageError: More processes than CUDA devices, or one named device for several processes.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision
    from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy

    device = torch.device(device)
    kind = "cuda" if device.type == "cuda" else "cpu"
    plugins = [MixedPrecision(_PRECISIONS[dtype], device.type)] if dtype in _PRECISIONS else []
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Fabric(accelerator=kind, devices=1, strategy=SingleDeviceStrategy(device=device), plugins=plugins)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    if kind == "cuda":
        if str(device) != "cuda":
            raise UsageError(f"--device {device}: {world} processes cannot share it; write --device cuda")
        if local > torch.cuda.device_count():
            raise UsageError(
                f"torchrun started {local} processes on this machine, which has {torch.cuda.device_count()} CUDA "
                "device(s): give as many with --nproc-per-node"
            )
    # Running statistics are averaged over the parts, not copied from the first process. A network may have parameters
    # that its logits do not depend on.
    known = signature(torch.nn.parallel.DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    strategy = DDPStrategy(find_unused_parameters=True, **{buffers: False})
    fabric = Fabric(accelerator=kind, devices=local, num_nodes=world // local, strategy=strategy, plugins=plugins)
    fabric.launch()
    return fabric

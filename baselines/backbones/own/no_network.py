"""What people give in the place of a network of PyTorch: said by what it is, with what to give instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, fx, nn

_PYTHON = "give the network in Python that it was made from, with its weights"
_EXPORTED = f"made by torch.export, operations without layers; {_PYTHON} (net.load_state_dict(exported.state_dict))"
_FOREIGN = {
    **dict.fromkeys(("onnx", "onnxruntime", "openvino", "tensorrt", "coremltools"), "has no layers and no gradients"),
    **dict.fromkeys(("keras", "tensorflow", "jax", "flax", "haiku", "mxnet", "paddle"), "is none of PyTorch"),
}
"""Packages whose networks cannot be read, and why."""
_SUFFIXES = {
    ".onnx": "an ONNX file, which has no gradients",
    ".pt2": "a file of torch.export, which has no layers",
    ".torchscript": "a file of torch.jit, which has no layers that could be read",
    **dict.fromkeys((".h5", ".hdf5", ".keras", ".tflite", ".pb"), "a file of Keras or TensorFlow"),
    **dict.fromkeys((".engine", ".plan", ".mlmodel", ".mlpackage"), "a compiled network, which has no gradients"),
}


def instead_of_network(given: object) -> str:
    """What was given in the place of a network, and what to give; for any object."""
    kind = type(given).__name__
    package = type(given).__module__.partition(".")[0]
    if kind == "ExportedProgram" and package == "torch":
        return f"a network {_EXPORTED}"
    if package in _FOREIGN:
        return f"the {kind} of {package}, which {_FOREIGN[package]}; give the network in PyTorch"
    if isinstance(given, Mapping) and given and all(isinstance(v, Tensor) for v in given.values()):
        return "weights without a network; build the network, load them (net.load_state_dict(…)) and give it"
    if isinstance(given, type):
        return f"the class {given.__name__}; give a network of it: {given.__name__}(…)"
    inner = getattr(given, "model", None)
    if isinstance(inner, nn.Module):
        return f"a {kind}; give the network in it, its .model"
    if callable(given):
        name = getattr(given, "__name__", kind)
        return f"the function {name}; give the network that it returns, {name}(…), or that it calls"
    if isinstance(given, list | tuple) and given and all(isinstance(v, nn.Module) for v in given):
        return f"a {kind} of {len(given)} networks; give one, or one after another"
    return f"a value of type {kind}"


def file_of_network(name: str) -> str:
    """What a file is that was named in the place of a network, if its ending says that no layers can be read of it."""
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    return _SUFFIXES.get(ending, "")


def exported_parts(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Parts of a network (name, why) that are operations without layers: graphs of ``torch.export`` and ``make_fx``."""
    for name, part in module.named_modules():
        if isinstance(part, fx.GraphModule) and any(_is_operator(node) for node in part.graph.nodes):
            yield name, _EXPORTED


def _is_operator(node: fx.Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)

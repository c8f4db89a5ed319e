"""Integer hashing in tensor operations: the same bits on every device and in every batch."""

import hashlib
import math
from collections.abc import Iterable

import torch
from torch import Tensor


def splitmix64(x: Tensor) -> Tensor:
    """Steele, Lea & Flood's SplitMix64 output for int64 states of any shape (arithmetic modulo 2^64)."""
    x = x * _GAMMA
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def id_seeds(image_ids: Iterable[str], device: torch.device) -> Tensor:
    """Seeds (B,), int64 in [0, 2^62), each a hash of the image's id alone."""
    digests = [hashlib.sha256(i.encode("utf-8", "surrogateescape")).digest() for i in image_ids]
    values = [int.from_bytes(d[:8], "big") >> 2 for d in digests]
    seeds = torch.tensor(values, dtype=torch.int64)
    return (seeds.pin_memory() if device.type == "cuda" else seeds).to(device, non_blocking=True)


def uniforms(seeds: Tensor, streams: Tensor, count: int) -> Tensor:
    """Uniform values in [0, 1), float32, a function of (seed, stream, index) alone.

    Args:
        seeds: int64, broadcastable against ``streams``.
        streams: int64; each names a sequence of its own under a seed.
        count: Values of each sequence; the result has shape (*broadcast, count).
    """
    return (_hashes(seeds, streams, count) & _LOW).to(torch.float32) / 2**24


def normals(seeds: Tensor, streams: Tensor, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal values (Box & Muller, 1958), arguments as of ``uniforms``; the result has dtype ``dtype``."""
    bits = _hashes(seeds, streams, count)
    # The two halves of a 64-bit hash; the first is kept above 0 for the logarithm.
    radius = ((_shift(bits, 40) + 1).to(dtype) / 2**24).log().mul(-2).sqrt()
    return ((bits & _LOW).to(dtype) * (2 * math.pi / 2**24)).cos() * radius


def _hashes(seeds: Tensor, streams: Tensor, count: int) -> Tensor:
    keys = splitmix64(splitmix64(seeds) + streams)
    return splitmix64(keys[..., None] + torch.arange(1, count + 1, device=keys.device))


def _shift(x: Tensor, bits: int) -> Tensor:
    # torch's >> on int64 copies the sign bit; the mask makes it a logical shift.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


_GAMMA, _FIRST, _SECOND = _signed(0x9E3779B97F4A7C15), _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)
_LOW = 0xFFFFFF

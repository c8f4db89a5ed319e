"""Integer hashing in tensor operations: the same bits on every device and in every batch."""

from torch import Tensor


def splitmix64(x: Tensor) -> Tensor:
    """Steele, Lea & Flood's SplitMix64 output for int64 states of any shape (arithmetic modulo 2^64)."""
    x = x * _GAMMA
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    # torch's >> on int64 copies the sign bit; the mask makes it a logical shift.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


_GAMMA, _FIRST, _SECOND = _signed(0x9E3779B97F4A7C15), _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)

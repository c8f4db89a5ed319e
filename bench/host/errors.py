"""The one error of wrong use; the command line exits with 2 on it."""

from __future__ import annotations


class UsageError(ValueError):
    """The request itself is wrong: says what, and what would be right."""


class RunError(RuntimeError):
    """The request is right but cannot be carried out (missing data, no images left): says why and what to do."""


class NothingComputedError(RunError):
    """A run whose every triple failed: says why each did."""

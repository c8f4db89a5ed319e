"""Patterns of triples as text, and what of a request is wrong whatever is installed: told before torch is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...datasets.open import existing_root
from ...datasets.schema import DATASETS
from ...registry import expand_braces
from ...triple import Triple
from ..host.errors import UsageError

if TYPE_CHECKING:
    from .config import RunConfig

Parts = tuple[str, str, str]
"""Patterns of a backbone, a CAM method and a head."""


def split_pattern(pattern: str) -> list[Parts]:
    """The three parts of each alternative of a pattern such as ``slim_*/gradcam/{softmax,sigmoid}``.

    Raises:
        UsageError: A brace is not closed, or an alternative does not have three parts.
    """
    try:
        alternatives = expand_braces(pattern)
    except ValueError as error:
        raise UsageError(str(error)) from None
    try:
        return [Triple.parse(plain).names for plain in alternatives]
    except ValueError as error:
        raise UsageError(f"{error}, such as slim_resnet/gradcam/sigmoid") from None


def check_request(config: RunConfig) -> None:
    """Find mistyped names, patterns and folders of a run without importing a network or data library.

    The names that plug-ins may register are left to the run.

    Raises:
        UsageError: A pattern is malformed.
        UnknownNameError: No protocol or data set has the name.
        DatasetError: The root does not exist.
    """
    for pattern in config.triples:
        split_pattern(pattern)
    if not config.plugins:
        _ = config.protocol_object
        DATASETS.refuse_unknown(config.dataset)
    if config.root is not None:
        existing_root(config.dataset, config.root)

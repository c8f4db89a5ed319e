"""The alternatives of a pattern of triples."""

from __future__ import annotations

from ....registry import RegistryError, expand_braces
from ....triple import Triple
from ...host.errors import UsageError


def split_pattern(pattern: str) -> list[Triple]:
    """The alternatives of a pattern such as ``slim_*/gradcam/{softmax,sigmoid}``: triples of patterns without braces.

    Raises:
        UsageError: A brace is not closed, or an alternative does not have three parts.
    """
    try:
        alternatives = expand_braces(pattern)
    except RegistryError as error:
        raise UsageError(str(error)) from None
    try:
        return [Triple.parse(plain) for plain in alternatives]
    except ValueError as error:
        raise UsageError(f"{error}, such as slim_resnet/gradcam/sigmoid") from None

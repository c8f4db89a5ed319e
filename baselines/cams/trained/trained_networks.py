"""Which networks offer a map that comes from their training."""

from __future__ import annotations

from collections.abc import Callable

from ...contracts import Backbone
from ...wsol import WSOL, split_name


def only_of(method: str, cam: str) -> Callable[[Backbone], str | None]:
    """Why a network does not offer ``cam``, the own map of a WSOL method; None for networks trained by the method."""

    def refuses(network: Backbone) -> str | None:
        if split_name(network.name)[1] == method:
            return None
        title = WSOL.get(method).title
        return f"{cam} is the map of networks that {title} trained (NETWORK+{method}), and {network.name} is none"

    return refuses

"""A finished training given again: recognised by its file alone."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from ...home import expanded
from ...version import __version__
from ..host.file_stamps import stamp

if TYPE_CHECKING:
    from .request import TrainingRequest

REQUEST = "request"
"""Where the file's metadata keep ``request_digest``."""
_NO_MATTER = {"out", "workers", "cache_mb", "tensorboard", "save_minutes"}


def request_digest(request: TrainingRequest) -> str:
    """What a training is asked for, with size and time of every file that is given for it, and this version.

    Of the request as it was given, before its recipe fills in what it leaves open.
    """
    named = (request.weights, getattr(request, "softmax_weights", None), getattr(request, "recipe", None))
    files = [*request.plugins, *(str(file) for file in (*named, request.root) if file is not None)]
    said = {
        "fields": request.model_dump(mode="json", exclude=_NO_MATTER),
        "files": [stamp(expanded(file)) for file in files],
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def is_finished(request: TrainingRequest) -> bool:
    """Whether the output holds what this very request trained."""
    from ...baselines.weights import WeightsError, load_metadata

    try:
        return load_metadata(request.out).get(REQUEST) == request_digest(request)
    except (WeightsError, OSError):
        return False

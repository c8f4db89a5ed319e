"""People's networks are read, or refused in a sentence: nothing that their code raises is shown as a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ....registry import RegistryError
from ....text import first_line
from ....torch_state import usual_torch
from ..timm.layout import unsupported


@contextmanager
def read_or_said(name: str) -> Iterator[None]:
    """While a network is read: torch in its usual state, and what the network raises is ``UnsupportedNetworkError``."""
    with usual_torch():
        try:
            yield
        except (RegistryError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the network's own code
            raise unsupported(
                name,
                f"reading it fails ({type(error).__name__}: {first_line(error)}); where its layers cannot be read, "
                "give its two parts: cambench.wrap(features=…, head=…)",
            ) from error

"""The self-contained HTML report."""

from .page import write_report
from .samples import Picture, Pictures

__all__ = ["Picture", "Pictures", "write_report"]

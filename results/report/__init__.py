"""The self-contained HTML report."""

from .page import Source, write_report
from .samples import Picture, Pictures

__all__ = ["Picture", "Pictures", "Source", "write_report"]

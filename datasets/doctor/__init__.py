"""What lies in a data folder, and the next step."""

from ..findings import Finding
from .examine import doctor
from .reports import DoctorReport, SplitReport

__all__ = ["DoctorReport", "Finding", "SplitReport", "doctor"]

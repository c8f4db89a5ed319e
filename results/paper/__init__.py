"""The paper's published numbers, and ours beside them."""

from .published import TableName, published_table
from .reproduction import ReproductionEntry, write_reproduction

__all__ = ["ReproductionEntry", "TableName", "published_table", "write_reproduction"]

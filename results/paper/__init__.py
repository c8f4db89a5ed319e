"""The paper's published numbers, and ours beside them."""

from .published import TableName, published_table
from .published_wsol import published_wsol
from .reproduction import ReproductionEntry, write_reproduction
from .wsol_report import write_wsol

__all__ = ["ReproductionEntry", "TableName", "published_table", "published_wsol", "write_reproduction", "write_wsol"]

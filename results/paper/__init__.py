"""The paper's published numbers, and ours beside them."""

from .published import TableName, published_table
from .reproduction import Entry, write_reproduction

__all__ = ["Entry", "TableName", "published_table", "write_reproduction"]

"""Per-image records: written, locked, read."""

"""Files, folders and archives as they lie on disk."""

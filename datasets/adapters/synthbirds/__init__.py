"""synthbirds, the embedded benchmark: drawn on first use."""

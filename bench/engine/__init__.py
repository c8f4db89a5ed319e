"""The run: configuration, plan, one pass, records."""

"""The run: configuration, plan, one pass, records; head training; timing; command line."""

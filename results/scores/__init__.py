"""Scores of a run, from its records."""

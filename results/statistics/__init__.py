"""Intervals, paired tests, ranks."""

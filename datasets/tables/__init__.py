"""Rows of samples: built, checked, cached."""

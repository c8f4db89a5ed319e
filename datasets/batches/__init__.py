"""Decoded batches of samples."""

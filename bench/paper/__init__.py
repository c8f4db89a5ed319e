"""The paper again: its tables, its factorial, its distortion figure."""

"""Score maps made elsewhere: their files, and the method that stands for them."""

MAPS = "maps"
"""The backbone of triples that no network stands behind; also where a method keeps its folder."""

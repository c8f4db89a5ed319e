"""Input attributions."""

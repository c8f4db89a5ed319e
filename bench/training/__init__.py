"""Training of heads and networks, by recipes."""

"""The metadata of wsolevaluation."""

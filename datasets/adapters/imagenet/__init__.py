"""ImageNet-1K."""

"""How maps are scored: a functional core and torchmetrics classes."""

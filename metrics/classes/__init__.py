"""torchmetrics classes over the functional core."""

"""Looking into networks: layers, stages, attention."""

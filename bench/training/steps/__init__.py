"""Steps of a training: losses, parts of a batch, precision and processes, the loop."""

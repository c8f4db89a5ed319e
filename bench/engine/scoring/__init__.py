"""From a batch to its scores: the network read once, maps, masked images, measures."""

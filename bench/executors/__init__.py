"""One run on several processes, machines or a cluster, started by engines that people operate."""

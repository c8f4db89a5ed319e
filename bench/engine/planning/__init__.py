"""From a request to a plan: configuration, words, triples, files that were given."""

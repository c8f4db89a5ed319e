"""What is made of a run's stored score maps without its networks: files for other tools, scores of another protocol."""
